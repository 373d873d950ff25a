"""The admin API as a generic client meets it: python admin.py --address HOST:PORT [--token TOKEN] [--ca FILE]

No generated code: services and messages come from the server's reflection. Prints one JSON line per check,
{"check": …, "ok": true} or {"check": …, "ok": false, "error": …}, and exits with 1 if one has failed.
"""

import argparse
import json
import sys

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

PACKAGE = "assize.admin.v1"
SERVICES = ["Cluster", "Config", "Schema", "Sessions", "Shards", "Transactions"]

# Calls that only look, by service.
READS = [
    "Cluster.ListMembers",
    "Cluster.GetRaftStatus",
    "Cluster.Diagnose",
    "Cluster.GetTraffic",
    "Transactions.List",
    "Transactions.ListConflicts",
    "Transactions.ListHotKeys",
    "Shards.List",
    "Schema.ListDatabases",
    "Schema.ListTables",
    "Schema.ListJobs",
    "Sessions.List",
    "Sessions.ListDigests",
    "Sessions.ListSlowStatements",
    "Config.GetEffective",
]

LIMIT_SECONDS = 20


class Api:
    """Calls by name, with messages built from reflected descriptors."""

    def __init__(self, channel, metadata):
        self.channel = channel
        self.metadata = metadata
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        return set(self.database.get_services())

    def method(self, name):
        service, method = name.split(".")
        return self.pool.FindServiceByName(f"{PACKAGE}.{service}").methods_by_name[method]

    def call(self, name, **fields):
        method = self.method(name)
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        answer = message_factory.GetMessageClass(method.output_type)
        service, short = name.split(".")
        stub = self.channel.unary_unary(
            f"/{PACKAGE}.{service}/{short}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=LIMIT_SECONDS, metadata=self.metadata)


class Authorized(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Adds the token to every call, reflection's included."""

    def __init__(self, metadata):
        self.metadata = metadata

    def details(self, details):
        return details._replace(metadata=list(details.metadata or []) + list(self.metadata))

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self.details(details), request)

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(self.details(details), requests)


failures = 0


def check(name, run):
    """Runs one check and prints its line."""
    global failures
    line = {"check": name, "ok": True}
    try:
        told = run()
        if told is not None:
            line["told"] = told
    except (grpc.RpcError, AssertionError, KeyError) as error:
        failures += 1
        line["ok"] = False
        line["error"] = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else repr(error)
    print(json.dumps(line), flush=True)


def all_services_are_reflected(api):
    found = api.services()
    missing = [name for name in SERVICES if f"{PACKAGE}.{name}" not in found]
    assert not missing, f"missing: {missing}"
    return sorted(found)


def members_have_a_leader(api):
    members = api.call("Cluster.ListMembers")
    assert members.leader in [member.node for member in members.members], members
    return {"leader": members.leader, "nodes": len(members.members)}


def a_kill_that_only_validates_kills_nobody(api):
    """Of the first connection if there is one; otherwise of one that is not there, which is NOT_FOUND."""
    sessions = api.call("Sessions.List").sessions
    if sessions:
        first = sessions[0]
        done = api.call("Sessions.Kill", node=first.node, connection=first.connection, validate_only=True)
        assert done.was_validate_only, done
        still = [(s.node, s.connection) for s in api.call("Sessions.List").sessions]
        assert (first.node, first.connection) in still, "the connection is gone"
        return done.text
    node = api.call("Cluster.ListMembers").answered_by
    try:
        api.call("Sessions.Kill", node=node, connection=2**32 - 1, validate_only=True)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        return error.details()
    raise AssertionError("there is no such connection")


def nonsense_is_refused_with_a_reason(api):
    """The details are a google.rpc.Status, which the server's own reflection describes too."""
    try:
        api.call("Cluster.DrainNode", validate_only=True)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        trailers = dict(error.trailing_metadata())
        status = message_factory.GetMessageClass(api.pool.FindMessageTypeByName("google.rpc.Status"))
        info = message_factory.GetMessageClass(api.pool.FindMessageTypeByName("google.rpc.ErrorInfo"))()
        details = status.FromString(trailers["grpc-status-details-bin"]).details
        assert details[0].Unpack(info), details
        assert info.reason == "INVALID_ARGUMENT", info
        return error.details()
    raise AssertionError("node 0 cannot drain")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--token")
    parser.add_argument("--ca", help="PEM; turns TLS on")
    options = parser.parse_args()

    if options.ca:
        with open(options.ca, "rb") as file:
            channel = grpc.secure_channel(options.address, grpc.ssl_channel_credentials(file.read()))
    else:
        channel = grpc.insecure_channel(options.address)
    metadata = [("authorization", f"Bearer {options.token}")] if options.token else []
    if metadata:
        channel = grpc.intercept_channel(channel, Authorized(metadata))
    api = Api(channel, [])

    check("all services are reflected", lambda: all_services_are_reflected(api))
    for name in READS:
        check(name, lambda: str(type(api.call(name)).DESCRIPTOR.name))
    check("members have a leader", lambda: members_have_a_leader(api))
    check("Sessions.Kill with validate_only", lambda: a_kill_that_only_validates_kills_nobody(api))
    check("nonsense is refused with a reason", lambda: nonsense_is_refused_with_a_reason(api))
    sys.exit(1 if failures else 0)


main()
