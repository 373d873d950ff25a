"""Tells how a node agent would run the pods of cluster/kubernetes/assize.yaml, as JSON for a container engine.

usage: pods.py MANIFEST

For each pod: the arguments of `docker run` that stand for its securityContext, its command, mounts and probes. What an engine has
no word for, because the agent does it, is told apart: the volumes with their files, owners and modes (fsGroup, defaultMode).
An unknown property is an error, so that nothing in the manifest goes untried in silence.
"""

import json
import sys

import yaml


def take(mapping, *known):
    """The values of these keys; no other key may be there."""
    unknown = set(mapping) - set(known)
    if unknown:
        sys.exit(f"what does a node agent make of {', '.join(sorted(unknown))}?")
    return [mapping.get(key) for key in known]


def probe(container, name):
    path, port = take(container[name]["httpGet"], "path", "port")
    port = next(p["containerPort"] for p in container["ports"] if p["name"] == port)
    return {"path": path, "port": port}


def flags(pod, container):
    as_other, user, group, fs_group, seccomp = take(
        pod["securityContext"], "runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "seccompProfile"
    )
    escalates, read_only, capabilities = take(
        container["securityContext"], "allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"
    )
    assert as_other and user and seccomp == {"type": "RuntimeDefault"}, "the engine's own profile is used"
    found = [f"--user={user}:{group}", f"--group-add={fs_group}"]
    found += [f"--cap-drop={name}" for name in capabilities["drop"]]
    found += ["--security-opt=no-new-privileges"] if escalates is False else []
    found += ["--read-only"] if read_only else []
    return found


def volumes(documents, stateful, pod, name):
    """Each volume by the name that the mounts give it."""
    group = pod["securityContext"]["fsGroup"]
    found = {}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            source = next(d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] == volume["configMap"]["name"])
            found[volume["name"]] = {"volume": "config", "files": source["data"], "mode": "0644", "group": group}
        else:
            secret, mode = take(volume["secret"], "secretName", "defaultMode")
            found[volume["name"]] = {"volume": "secret", "secret": secret, "mode": f"{mode:04o}", "group": group}
    for claim in stateful["spec"]["volumeClaimTemplates"]:
        found[claim["metadata"]["name"]] = {"volume": f"data-{name}", "group": group}
    return found


def pods(documents):
    stateful = next(d for d in documents if d["kind"] == "StatefulSet")
    service = stateful["spec"]["serviceName"]
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for ordinal in range(stateful["spec"]["replicas"]):
        name = f"{stateful['metadata']['name']}-{ordinal}"
        places = volumes(documents, stateful, pod, name)
        yield {
            "name": name,
            "flags": flags(pod, container) + [f"--hostname={name}", f"--network-alias={name}.{service}"],
            "command": container["command"] + container["args"],
            "mounts": [
                {**places[mount["name"]], "path": mount["mountPath"], "readonly": mount.get("readOnly", False)}
                for mount in container["volumeMounts"]
            ],
            "probes": {kind: probe(container, f"{kind}Probe") for kind in ("startup", "liveness", "readiness")},
            "grace": pod["terminationGracePeriodSeconds"],
        }


with open(sys.argv[1], encoding="utf-8") as manifest:
    json.dump(list(pods(list(yaml.safe_load_all(manifest)))), sys.stdout)
