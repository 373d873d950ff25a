//! CREATE, ALTER, DROP and RENAME USER, SET PASSWORD, SHOW CREATE USER.

use super::{find, quoted, require_global, resolve};
use crate::ddl::{commit_change, done};
use assize_catalog::User;
use assize_model::{ErrorCode, SqlError, WarningLevel};
use assize_ports::{Executed, StatementContext};
use assize_sql::{Account, Auth, UserOptions, UserSpec};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// MySQL 8's default plugin.
const SHA2: &str = "caching_sha2_password";
/// The plugin of older clients.
const NATIVE: &str = "mysql_native_password";
/// Longest user name in characters.
const NAME_MAX: usize = 32;

/// What is stored of a password: enough to check a login, too little to log in with.
pub fn verifier(plugin: &str, password: &str) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    match plugin {
        NATIVE => Sha1::digest(Sha1::digest(password.as_bytes())).to_vec(),
        _ => Sha256::digest(Sha256::digest(password.as_bytes())).to_vec(),
    }
}

/// Plugin and verifier that IDENTIFIED asks for.
fn authentication(auth: Option<&Auth>, before: Option<&User>) -> Result<(Arc<str>, Vec<u8>), SqlError> {
    let Some(auth) = auth else {
        return Ok(match before {
            Some(user) => (user.plugin.clone(), user.verifier.clone()),
            None => (SHA2.into(), Vec::new()),
        });
    };
    let plugin: Arc<str> = match &auth.plugin {
        Some(plugin) => plugin.to_ascii_lowercase().into(),
        None => before.map_or_else(|| SHA2.into(), |u| u.plugin.clone()),
    };
    // A hash without a plugin is the old form: `*` and forty hexadecimal digits.
    let plugin = match (&auth.plugin, &auth.hash) {
        (None, Some(hash)) if hash.starts_with('*') && hash.len() == 41 => NATIVE.into(),
        _ => plugin,
    };
    if &*plugin != SHA2 && &*plugin != NATIVE {
        return Err(SqlError::new(ErrorCode::PluginNotLoaded, format!("Plugin '{plugin}' is not loaded")));
    }
    let verifier = match (&auth.password, &auth.hash) {
        (Some(password), _) => verifier(&plugin, password),
        (None, Some(hash)) => stored_hash(&plugin, hash)?,
        (None, None) => Vec::new(),
    };
    Ok((plugin, verifier))
}

/// The verifier in the form in which SHOW CREATE USER prints it.
fn stored_hash(plugin: &str, text: &str) -> Result<Vec<u8>, SqlError> {
    let bad = || {
        SqlError::new(
            ErrorCode::PasswordHash,
            "The password hash doesn't have the expected format. Check if the correct password algorithm is \
             being used with the PASSWORD() function.",
        )
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let (digits, length) = match plugin {
        NATIVE => (text.strip_prefix('*').ok_or_else(bad)?, 20),
        _ => (text.strip_prefix("$B$").ok_or_else(bad)?, 32),
    };
    let bytes: Option<Vec<u8>> = (digits.is_ascii() && digits.len() == 2 * length)
        .then(|| (0..length).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()).collect())
        .flatten();
    bytes.ok_or_else(bad)
}

fn hash_text(user: &User) -> String {
    if user.verifier.is_empty() {
        return String::new();
    }
    let digits: String = user.verifier.iter().map(|b| format!("{b:02X}")).collect();
    if &*user.plugin == NATIVE { format!("*{digits}") } else { format!("$B${digits}") }
}

fn apply_options(user: &mut User, options: &UserOptions) {
    if let Some(locked) = options.locked {
        user.locked = locked;
    }
    if let Some(require_tls) = options.require_tls {
        user.require_tls = require_tls;
    }
}

fn failed(operation: &str, accounts: &[(Arc<str>, Arc<str>)]) -> SqlError {
    let list: Vec<String> = accounts.iter().map(quoted).collect();
    SqlError::new(ErrorCode::CannotUser, format!("Operation {operation} failed for {}", list.join(",")))
}

/// Runs CREATE USER: all of the accounts or none.
pub async fn create_user(
    if_not_exists: bool,
    users: &[UserSpec],
    options: &UserOptions,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    require_global(context, "CREATE USER")?;
    let mut wanted = Vec::with_capacity(users.len());
    for spec in users {
        let key = resolve(&spec.account, context);
        if key.0.chars().count() > NAME_MAX {
            return Err(SqlError::new(
                ErrorCode::IdentifierTooLong,
                format!("String '{}' is too long for user name (should be no longer than {NAME_MAX})", key.0),
            ));
        }
        let (plugin, verifier) = authentication(spec.auth.as_ref(), None)?;
        let mut user = User {
            name: key.0.clone(),
            host: key.1.clone(),
            plugin,
            verifier,
            locked: false,
            require_tls: false,
            global: Vec::new(),
            databases: BTreeMap::new(),
            tables: BTreeMap::new(),
            grant_option: Vec::new(),
        };
        apply_options(&mut user, options);
        wanted.push((key, user));
    }
    let mut present = Vec::new();
    commit_change(context, |catalog, change| {
        present = wanted.iter().map(|(key, _)| key.clone()).filter(|k| find(catalog, k).is_some()).collect();
        if !present.is_empty() && !if_not_exists {
            return Err(failed("CREATE USER", &present));
        }
        for (key, user) in &wanted {
            if find(catalog, key).is_none() {
                change.put_user(user);
            }
        }
        Ok((!change.is_empty()).then_some(()))
    })
    .await?;
    for key in &present {
        let text = format!("Authorization ID {} already exists.", quoted(key));
        context.eval().note(ErrorCode::UserAlreadyExists, text);
    }
    Ok(done())
}

/// Runs ALTER USER.
pub async fn alter_user(
    if_exists: bool,
    users: &[UserSpec],
    options: &UserOptions,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let me = context.user();
    let mut wanted = Vec::with_capacity(users.len());
    for spec in users {
        let key = resolve(&spec.account, context);
        let own_password = key == (me.name.clone(), me.host.clone()) && *options == UserOptions::default();
        if !own_password {
            require_global(context, "CREATE USER")?;
        }
        wanted.push((key, spec));
    }
    let mut absent = Vec::new();
    commit_change(context, |catalog, change| {
        absent = wanted.iter().map(|(key, _)| key.clone()).filter(|k| find(catalog, k).is_none()).collect();
        if !absent.is_empty() && !if_exists {
            return Err(failed("ALTER USER", &absent));
        }
        for (key, spec) in &wanted {
            let Some(before) = find(catalog, key) else { continue };
            let mut user = (**before).clone();
            (user.plugin, user.verifier) = authentication(spec.auth.as_ref(), Some(before))?;
            apply_options(&mut user, options);
            change.put_user(&user);
        }
        Ok((!change.is_empty()).then_some(()))
    })
    .await?;
    for key in &absent {
        let text = format!("Authorization ID {} does not exist.", quoted(key));
        context.eval().note(ErrorCode::UserDoesNotExist, text);
    }
    Ok(done())
}

/// Runs DROP USER.
pub async fn drop_user(
    if_exists: bool,
    users: &[Account],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    require_global(context, "CREATE USER")?;
    let keys: Vec<_> = users.iter().map(|account| resolve(account, context)).collect();
    let mut absent = Vec::new();
    commit_change(context, |catalog, change| {
        absent = keys.iter().filter(|k| find(catalog, k).is_none()).cloned().collect();
        if !absent.is_empty() && !if_exists {
            return Err(failed("DROP USER", &absent));
        }
        for (name, host) in keys.iter().filter(|k| find(catalog, k).is_some()) {
            change.remove_user(name, host);
        }
        Ok((!change.is_empty()).then_some(()))
    })
    .await?;
    for key in &absent {
        let text = format!("Authorization ID {} does not exist.", quoted(key));
        context.eval().note(ErrorCode::UserDoesNotExist, text);
    }
    Ok(done())
}

/// Runs RENAME USER.
pub async fn rename_user(
    renames: &[(Account, Account)],
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    require_global(context, "CREATE USER")?;
    let pairs: Vec<_> = renames.iter().map(|(a, b)| (resolve(a, context), resolve(b, context))).collect();
    commit_change(context, |catalog, change| {
        for (from, to) in &pairs {
            let (Some(user), None) = (find(catalog, from), find(catalog, to)) else {
                return Err(failed("RENAME USER", std::slice::from_ref(from)));
            };
            change.remove_user(&from.0, &from.1);
            change.put_user(&User { name: to.0.clone(), host: to.1.clone(), ..(**user).clone() });
        }
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// Runs SET PASSWORD.
pub async fn set_password(
    account: Option<&Account>,
    password: &str,
    context: &mut dyn StatementContext,
) -> Result<Executed, SqlError> {
    let me = context.user();
    let own = (me.name.clone(), me.host.clone());
    let key = account.map_or_else(|| own.clone(), |account| resolve(account, context));
    if key != own {
        require_global(context, "CREATE USER")?;
    }
    commit_change(context, |catalog, change| {
        let Some(user) = find(catalog, &key) else {
            return Err(SqlError::new(
                ErrorCode::PasswordNoMatch,
                "Can't find any matching row in the user table",
            ));
        };
        change.put_user(&User { verifier: verifier(&user.plugin, password), ..(**user).clone() });
        Ok(Some(()))
    })
    .await?;
    Ok(done())
}

/// The text of SHOW CREATE USER.
pub fn show_create_user(
    account: &Account,
    context: &dyn StatementContext,
) -> Result<(String, String), SqlError> {
    let key = resolve(account, context);
    let catalog = context.catalog();
    let user = find(&catalog, &key).ok_or_else(|| failed("SHOW CREATE USER", std::slice::from_ref(&key)))?;
    let mut text = format!("CREATE USER `{}`@`{}` IDENTIFIED WITH '{}'", user.name, user.host, user.plugin);
    let hash = hash_text(user);
    if !hash.is_empty() {
        text.push_str(&format!(" AS '{hash}'"));
    }
    text.push_str(if user.require_tls { " REQUIRE SSL" } else { " REQUIRE NONE" });
    text.push_str(" PASSWORD EXPIRE DEFAULT");
    text.push_str(if user.locked { " ACCOUNT LOCK" } else { " ACCOUNT UNLOCK" });
    text.push_str(
        " PASSWORD HISTORY DEFAULT PASSWORD REUSE INTERVAL DEFAULT PASSWORD REQUIRE CURRENT DEFAULT",
    );
    Ok((format!("CREATE USER for {}@{}", user.name, user.host), text))
}

/// A note for options that are accepted and change nothing.
pub fn note_ignored(options: &UserOptions, context: &mut dyn StatementContext) {
    for option in &options.other {
        context.eval().push_warning(
            WarningLevel::Note,
            ErrorCode::NotSupportedYet,
            format!("'{option}' is accepted and has no effect"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_are_those_that_clients_prove() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02X}")).collect::<String>();
        // PASSWORD('secret') of MySQL 5.7.
        assert_eq!(hex(verifier(NATIVE, "secret")), "14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
        assert_eq!(verifier(SHA2, "secret").len(), 32);
        assert!(verifier(SHA2, "").is_empty());
    }

    #[test]
    fn a_hash_that_is_shown_can_be_given_back() {
        for plugin in [SHA2, NATIVE] {
            let user = User {
                name: "a".into(),
                host: "%".into(),
                plugin: plugin.into(),
                verifier: verifier(plugin, "x"),
                locked: false,
                require_tls: false,
                global: Vec::new(),
                databases: BTreeMap::new(),
                tables: BTreeMap::new(),
                grant_option: Vec::new(),
            };
            assert_eq!(stored_hash(plugin, &hash_text(&user)), Ok(user.verifier));
        }
        assert!(stored_hash(NATIVE, "*zz").is_err());
    }
}
