use super::*;
use crate::{ChangeBuilder, bootstrap, fixtures};
use assize_model::CatalogChange;
use proptest::prelude::*;

/// What the adjudicator does with a change, without its checks.
fn commit(catalog: &Catalog, change: CatalogChange) -> Catalog {
    let version = CatalogVersion(catalog.version.0 + 1);
    let objects: Vec<_> = change.objects.into_iter().map(|(k, v)| (k, version.0, v)).collect();
    catalog.apply_objects(version, false, &objects).unwrap()
}

fn database(name: &str, id: u32) -> Database {
    Database {
        id: DatabaseId(id),
        name: name.into(),
        collation: Collation::UTF8MB4_0900_AI_CI,
        tables: BTreeMap::new(),
    }
}

fn shop() -> Catalog {
    let catalog = commit(&Catalog::default(), bootstrap());
    let mut change = ChangeBuilder::new(&catalog);
    change.put_database(&database("shop", 9)).put_table(&fixtures::stock());
    commit(&catalog, change.finish())
}

#[test]
fn a_new_cluster_has_the_systems_databases_and_root() {
    let catalog = commit(&Catalog::default(), bootstrap());
    assert_eq!(catalog.databases.len(), 4);
    assert!(catalog.database("INFORMATION_SCHEMA").is_some());
    assert!(catalog.database("MySQL").is_none());
    let root = catalog.authenticate("root", "127.0.0.1").unwrap();
    assert!(root.may("DROP", Some("mysql"), None) && root.may_grant(None, None));
    assert!(catalog.authenticate("root", "10.0.0.1").is_none());
    assert!(bootstrap().expects.iter().all(|(_, version)| *version == 0));
}

#[test]
fn every_part_of_a_table_is_stored() {
    for table in [fixtures::everything(), fixtures::view(), fixtures::functional(), fixtures::foreign()] {
        let bytes = encode_table(&table);
        assert_eq!(decode_table(&table.database.clone(), &table.name.clone(), &bytes), Ok(table));
    }
}

#[test]
fn tables_are_written_as_before_there_were_views_and_functional_key_parts() {
    let version = |table: &Table| envelope::open(&encode_table(table), *b"ctab", 4).unwrap().0;
    assert_eq!(version(&fixtures::everything()), 1);
    assert_eq!(version(&fixtures::view()), 2);
    assert_eq!(version(&fixtures::functional()), 3);
    assert_eq!(version(&fixtures::foreign()), 4);
}

#[test]
fn servers_come_change_and_go_whatever_the_case_of_their_names() {
    let server = fixtures::server;
    let mut catalog = shop();
    for port in [3306, 3307] {
        let mut change = ChangeBuilder::new(&catalog);
        change.put_server(&server(port));
        catalog = commit(&catalog, change.finish());
        assert_eq!(*catalog.servers["legacy"], server(port));
    }
    assert_eq!(catalog.require_server("LEGACY").unwrap().port, 3307);
    let mut change = ChangeBuilder::new(&catalog);
    change.remove_server("LEGACY");
    let catalog = commit(&catalog, change.finish());
    assert!(catalog.servers.is_empty());
    let missing = catalog.require_server("Legacy").unwrap_err();
    assert_eq!(missing.code, assize_model::ErrorCode::ForeignServerDoesNotExist);
}

#[test]
fn hidden_columns_have_no_name_and_go_with_their_index() {
    let mut table = fixtures::functional();
    assert_eq!((table.ordinal("!hidden!3"), table.shown_columns().count()), (None, 3));
    assert_eq!(table.key_expression(&table.indexes[3].parts[0]), Some("lower(`name`)"));
    assert_eq!(table.key_expression(&table.indexes[1].parts[0]), None);
    table.forget_idle_columns();
    assert_eq!(table, fixtures::functional());
    table.indexes.pop();
    table.forget_idle_columns();
    assert_eq!(table.columns, fixtures::stock().columns);
}

#[test]
fn a_view_is_no_base_table() {
    let mut change = ChangeBuilder::new(&shop()).finish();
    change.objects.push((
        ObjectKey::Table("shop".into(), "ids".into()).encode(),
        Some(encode_table(&fixtures::view())),
    ));
    let catalog = commit(&shop(), change);
    let code = |name: &str| catalog.require_base_table("shop", name).map(|_| ()).map_err(|e| e.code.errno());
    assert_eq!((code("stock"), code("ids"), code("none")), (Ok(()), Err(1347), Err(1146)));
}

#[test]
fn changes_are_applied_in_any_order_and_share_what_stays() {
    let catalog = shop();
    let stock = catalog.table("shop", "stock").unwrap().clone();
    assert_eq!(catalog.tables.len(), 1);

    // A rename frees one name and takes another, and the object keys come in either order.
    for to in ["another", "zebra"] {
        let renamed = Table { name: to.into(), ..(*stock).clone() };
        let mut change = ChangeBuilder::new(&catalog);
        change.remove_table("shop", "stock").put_table(&renamed);
        let next = commit(&catalog, change.finish());
        assert_eq!(next.table("shop", to).map(|t| t.id), Some(stock.id));
        assert!(next.table("shop", "stock").is_none());
        assert_eq!(next.tables.len(), 1);
        assert!(Arc::ptr_eq(&next.databases["mysql"], &catalog.databases["mysql"]));
    }

    let mut change = ChangeBuilder::new(&catalog);
    change.remove_database("shop").remove_table("shop", "stock");
    change.put_dropped(&Dropped {
        id: 1,
        dropped_micros: 5,
        cause: DropCause::DropDatabase,
        database: catalog.databases["shop"].clone(),
        tables: vec![stock.clone()],
    });
    let next = commit(&catalog, change.finish());
    assert!(next.tables.is_empty() && next.database("shop").is_none());
    let (dropped, table) = next.dropped_table("shop", "stock").unwrap();
    assert_eq!((dropped.id, table), (1, &stock));
    assert_eq!(dropped.database, catalog.databases["shop"]);
}

#[test]
fn truncation_replaces_the_table_under_its_name() {
    let catalog = shop();
    let mut change = ChangeBuilder::new(&catalog);
    let id = change.take_table_id();
    change.put_table(&Table { id, ..fixtures::stock() });
    let next = commit(&catalog, change.finish());
    assert_eq!(next.tables.keys().copied().collect::<Vec<_>>(), [id]);
    assert_eq!(next.next_ids.table, TableId(id.0 + 1));
}

#[test]
fn a_change_expects_what_it_read_at_the_version_it_read() {
    let catalog = shop();
    let mut change = ChangeBuilder::new(&catalog);
    change.expect_database("shop").expect_table("shop", "new").put_table(&fixtures::stock());
    let expects = change.finish().expects;
    let version_of = |key: ObjectKey| expects.iter().find(|(k, _)| *k == key.encode()).map(|(_, v)| *v);
    assert_eq!(version_of(ObjectKey::Database("shop".into())), Some(2));
    assert_eq!(version_of(ObjectKey::Table("shop".into(), "stock".into())), Some(2));
    assert_eq!(version_of(ObjectKey::Table("shop".into(), "new".into())), Some(0));
}

#[test]
fn a_complete_set_of_objects_replaces_everything() {
    let catalog = shop();
    let objects =
        [(ObjectKey::Database("shop".into()).encode(), 4, Some(encode_database(&database("shop", 9))))];
    let next = catalog.apply_objects(CatalogVersion(9), true, &objects).unwrap();
    assert_eq!(next.databases.len(), 1);
    assert!(next.tables.is_empty() && next.users.is_empty());
}

#[test]
fn stored_samples_are_still_understood() {
    let samples = include_str!("../samples/objects.txt");
    let mut seen = BTreeSet::new();
    let mut objects = Vec::new();
    for line in samples.lines().filter(|l| !l.starts_with('#')) {
        let (key, body) = line.split_once(' ').unwrap();
        let key = unhex(key);
        seen.insert(key[0]);
        objects.push((Bytes::from(key), 1, Some(Bytes::from(unhex(body)))));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), b"dgistux");
    let catalog = Catalog::default().apply_objects(CatalogVersion(1), true, &objects).unwrap();
    assert_eq!(**catalog.table("shop", "stock").unwrap(), fixtures::everything());
    assert_eq!(**catalog.table("shop", "ids").unwrap(), fixtures::view());
    assert_eq!(**catalog.table("shop", "names").unwrap(), fixtures::functional());
    assert_eq!(**catalog.table("shop", "elsewhere").unwrap(), fixtures::foreign());
    assert_eq!(*catalog.servers["legacy"], fixtures::server(3307));
    assert_eq!(catalog.globals["max_connections"], Value::UInt(151));
    assert_eq!(catalog.next_ids.dropped, 3);
    assert_eq!(catalog.dropped[0].tables[0].name, "stock".into());
    assert_eq!(catalog.users.len(), 1);
}

/// The lines of `samples/objects.txt`, by which a new sample is made when a format gets a new version.
fn samples() -> String {
    let mut out = String::from("# object key, object; hexadecimal; format version 1\n");
    let table = fixtures::everything();
    let shop = database("shop", 9);
    let dropped = Dropped {
        id: 2,
        dropped_micros: 1_790_000_000_000_000,
        cause: DropCause::DropTable,
        database: Arc::new(shop.clone()),
        tables: vec![Arc::new(fixtures::stock())],
    };
    let user = User {
        name: "app".into(),
        host: "%".into(),
        plugin: "caching_sha2_password".into(),
        verifier: vec![1, 2, 3],
        locked: true,
        require_tls: true,
        global: vec!["PROCESS".into()],
        databases: BTreeMap::from([("shop".into(), vec!["SELECT".into()])]),
        tables: BTreeMap::from([(("shop".into(), "stock".into()), vec!["UPDATE".into()])]),
        grant_option: vec!["shop".into()],
    };
    let ids = NextIds { database: DatabaseId(10), table: TableId(8), dropped: 3 };
    for (key, body) in [
        (ObjectKey::Ids, encode_ids(&ids)),
        (ObjectKey::Database("shop".into()), encode_database(&shop)),
        (ObjectKey::Table("shop".into(), "stock".into()), encode_table(&table)),
        (ObjectKey::Table("shop".into(), "ids".into()), encode_table(&fixtures::view())),
        (ObjectKey::Table("shop".into(), "names".into()), encode_table(&fixtures::functional())),
        (ObjectKey::Table("shop".into(), "elsewhere".into()), encode_table(&fixtures::foreign())),
        (ObjectKey::Server("legacy".into()), encode_server(&fixtures::server(3307))),
        (ObjectKey::User("app".into(), "%".into()), encode_user(&user)),
        (ObjectKey::Global("max_connections".into()), encode_global(&Value::UInt(151))),
        (ObjectKey::Dropped(2), encode_dropped(&dropped)),
    ] {
        out.push_str(&format!("{} {}\n", hex(&key.encode()), hex(&body)));
    }
    out
}

#[test]
fn what_is_written_today_is_the_newest_sample() {
    assert_eq!(samples(), include_str!("../samples/objects.txt"), "a format changed: raise its version");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn object_keys_are_read_back(a in "[^\0]{1,8}", b in "[^\0]{0,8}", n: u64) {
        for key in [
            ObjectKey::Ids,
            ObjectKey::Database(a.as_str().into()),
            ObjectKey::Table(a.as_str().into(), b.as_str().into()),
            ObjectKey::User(b.as_str().into(), a.as_str().into()),
            ObjectKey::Global(a.as_str().into()),
            ObjectKey::Dropped(n),
        ] {
            prop_assert_eq!(ObjectKey::decode(&key.encode()), Some(key));
        }
    }

    #[test]
    fn no_bytes_make_decoding_panic(kind in 0usize..6, bytes: Vec<u8>, cut: prop::sample::Index, flip: u8) {
        let table = encode_table(&fixtures::everything());
        // An envelope's checksum would hide the decoders behind it, so it is made good again.
        let (_, body) = envelope::open(&table, TABLE.0, TABLE.1).unwrap();
        let mut body = body.to_vec();
        let at = cut.index(body.len());
        body[at] ^= flip;
        body.truncate(body.len() - bytes.len().min(3));
        let _ = decode_table(&"d".into(), &"t".into(), &seal(TABLE, &body));
        let name: Arc<str> = "n".into();
        let _ = match kind {
            0 => decode_ids(&seal(IDS, &bytes)).err(),
            1 => decode_database(&name, &seal(DATABASE, &bytes)).err(),
            2 => decode_table(&name, &name, &seal(TABLE, &bytes)).err(),
            3 => decode_user(&name, &name, &seal(USER, &bytes)).err(),
            4 => decode_global(&seal(GLOBAL, &bytes)).err(),
            _ => decode_dropped(1, &seal(DROPPED, &bytes)).err(),
        };
        let _ = ObjectKey::decode(&bytes);
    }
}
