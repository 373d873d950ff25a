//! Authentication: who proves a password, and how, as a machine without IO.
//!
//! ```text
//!   greeting(nonce) ─▶ response ─┬─ plugins agree ──────────────▶ verify
//!                                └─ they differ ─▶ AuthSwitchRequest(fresh nonce) ─▶ response ─▶ verify
//!
//!   verify, caching_sha2_password:  scramble right ──▶ 01 03, OK
//!                                   scramble wrong ──▶ 01 04 ─┬─ TLS: the password itself
//!                                                             └─ 02 ─▶ public key ─▶ RSA-OAEP(password ⊕ nonce)
//! ```
//!
//! The verifier is the double SHA-256 of the password, from which the fast path can always be checked. So the
//! full path decides nothing that the fast one has not; it exists for clients that begin with it, and over TLS
//! it is what clients expect after a wrong scramble. A client in clear text whose scramble is wrong is refused
//! at once: its password is wrong, and asking for a key would only hide that behind another error.

use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::{Oaep, RsaPrivateKey, RsaPublicKey};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::sync::OnceLock;

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 20;
/// Bytes of a SHA-1.
const SHA1: usize = 20;
/// Bytes of a SHA-256.
const SHA256: usize = 32;
/// Bits of the key that protects passwords on connections without TLS.
const RSA_BITS: usize = 2048;

/// How an account proves its password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plugin {
    /// `caching_sha2_password`.
    CachingSha2,
    /// `mysql_native_password`.
    Native,
}

impl Plugin {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Plugin::CachingSha2 => "caching_sha2_password",
            Plugin::Native => "mysql_native_password",
        }
    }

    /// By name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "caching_sha2_password" => Some(Plugin::CachingSha2),
            "mysql_native_password" => Some(Plugin::Native),
            _ => None,
        }
    }
}

/// What must be known of an account to authenticate it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// How it proves its password.
    pub plugin: Plugin,
    /// See [`sha2_verifier`] and [`native_verifier`]; empty: there is no password.
    pub verifier: Vec<u8>,
    /// Refused, whatever the password.
    pub locked: bool,
    /// Refused without TLS.
    pub require_tls: bool,
    /// May take the connection that is kept for administrators.
    pub administrator: bool,
}

/// What is stored of a password for `caching_sha2_password`: SHA256(SHA256(password)), or nothing for none.
pub fn sha2_verifier(password: &[u8]) -> Vec<u8> {
    if password.is_empty() { Vec::new() } else { Sha256::digest(Sha256::digest(password)).to_vec() }
}

/// What is stored of a password for `mysql_native_password`: SHA1(SHA1(password)), or nothing for none.
pub fn native_verifier(password: &[u8]) -> Vec<u8> {
    if password.is_empty() { Vec::new() } else { Sha1::digest(Sha1::digest(password)).to_vec() }
}

/// Twenty random bytes without NUL, which some clients take for the end, and without `$`.
pub(crate) fn fresh_nonce() -> [u8; NONCE] {
    std::array::from_fn(|_| {
        loop {
            let byte = rand::random::<u8>() & 0x7f;
            if byte != 0 && byte != b'$' {
                return byte;
            }
        }
    })
}

/// The key that protects passwords on connections without TLS; made when it is first asked for.
#[derive(Default)]
pub struct PasswordKey(OnceLock<Option<(RsaPrivateKey, String)>>);

impl PasswordKey {
    /// The key and its public half as PEM. Takes a second the first time: call it where blocking is allowed.
    pub(crate) fn get(&self) -> Option<&(RsaPrivateKey, String)> {
        self.0
            .get_or_init(|| {
                let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).ok()?;
                let pem = RsaPublicKey::from(&key).to_public_key_pem(LineEnding::LF).ok()?;
                Some((key, pem))
            })
            .as_ref()
    }
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Send this payload and bring the client's answer to [`Exchange::answer`].
    Ask(Vec<u8>),
    /// Make the password key, then call [`Exchange::with_key`].
    NeedKey,
    /// The password is right. Send this payload first, if it is not empty.
    Accepted(Vec<u8>),
    /// It is not, or there is no such account.
    Refused {
        /// Whether the client sent a password at all, which MySQL's text tells.
        using_password: bool,
    },
    /// The client cannot do what the account needs: error 1251.
    Unsupported,
    /// The answer makes no sense.
    Malformed,
}

/// What the client must send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Awaiting {
    Scramble,
    FullPassword,
    EncryptedPassword,
}

/// One authentication.
pub(crate) struct Exchange {
    /// `None`: there is no such account. The exchange goes on as if there were one.
    account: Option<Account>,
    plugin: Plugin,
    nonce: [u8; NONCE],
    secure: bool,
    awaiting: Awaiting,
}

impl Exchange {
    /// An authentication against this account (`None`: nobody). `secure` connections may carry passwords.
    pub fn new(account: Option<Account>, nonce: [u8; NONCE], secure: bool) -> Self {
        let plugin = account.as_ref().map_or(Plugin::CachingSha2, |a| a.plugin);
        Exchange { account, plugin, nonce, secure, awaiting: Awaiting::Scramble }
    }

    /// Begins with the response that came with the handshake, made by `plugin` (`None`: another one than we
    /// know) with the greeting's nonce. `can_switch`: the client knows plugins.
    pub fn begin(&mut self, plugin: Option<Plugin>, response: &[u8], can_switch: bool) -> Step {
        if plugin == Some(self.plugin) {
            return self.scramble(response);
        }
        if self.has_no_password() && trimmed(response).is_empty() {
            return Step::Accepted(Vec::new());
        }
        if !can_switch {
            // Without names the client can do mysql_native_password only.
            return match self.account {
                Some(_) => Step::Unsupported,
                None => self.refused(response),
            };
        }
        self.nonce = fresh_nonce();
        self.switch()
    }

    /// The nonce that the client saw last.
    pub fn nonce(&self) -> [u8; NONCE] {
        self.nonce
    }

    /// Begins by asking for a response to the nonce that the client knows already. This is how
    /// COM_CHANGE_USER goes: some clients answer any request there with their old nonce.
    pub fn switch(&mut self) -> Step {
        let mut payload = vec![0xfe];
        payload.extend_from_slice(self.plugin.name().as_bytes());
        payload.push(0);
        payload.extend_from_slice(&self.nonce);
        payload.push(0);
        Step::Ask(payload)
    }

    /// The client's answer to the last [`Step::Ask`].
    pub fn answer(&mut self, answer: &[u8]) -> Step {
        match self.awaiting {
            Awaiting::Scramble => self.scramble(answer),
            Awaiting::FullPassword if self.secure => self.password(trimmed(answer)),
            Awaiting::FullPassword if answer == [2] => Step::NeedKey,
            Awaiting::FullPassword => Step::Malformed,
            // Needs the key: see `decrypt`.
            Awaiting::EncryptedPassword => Step::NeedKey,
        }
    }

    /// Goes on after [`Step::NeedKey`], with the answer that led to it.
    pub fn with_key(&mut self, key: &(RsaPrivateKey, String), answer: &[u8]) -> Step {
        if self.awaiting == Awaiting::FullPassword {
            self.awaiting = Awaiting::EncryptedPassword;
            let mut payload = vec![1];
            payload.extend_from_slice(key.1.as_bytes());
            return Step::Ask(payload);
        }
        let decrypted = key.0.decrypt_blinded(&mut rsa::rand_core::OsRng, Oaep::new::<Sha1>(), answer);
        match decrypted {
            Ok(mut password) => {
                for (i, byte) in password.iter_mut().enumerate() {
                    *byte ^= self.nonce[i % NONCE];
                }
                self.password(trimmed(&password))
            }
            Err(_) => Step::Refused { using_password: true },
        }
    }

    fn scramble(&mut self, response: &[u8]) -> Step {
        let empty = response.is_empty() || response == [0];
        if self.has_no_password() {
            return if empty { Step::Accepted(Vec::new()) } else { self.refused(response) };
        }
        if empty {
            return Step::Refused { using_password: false };
        }
        let verifier = self.account.as_ref().map_or(&[][..], |a| &a.verifier[..]);
        match self.plugin {
            Plugin::Native if native_matches(verifier, &self.nonce, response) => Step::Accepted(Vec::new()),
            Plugin::Native => Step::Refused { using_password: true },
            Plugin::CachingSha2 if sha2_matches(verifier, &self.nonce, response) => {
                Step::Accepted(vec![1, 3])
            }
            Plugin::CachingSha2 if self.secure || response.len() != SHA256 => {
                self.awaiting = Awaiting::FullPassword;
                Step::Ask(vec![1, 4])
            }
            Plugin::CachingSha2 => Step::Refused { using_password: true },
        }
    }

    fn password(&self, password: &[u8]) -> Step {
        let verifier = self.account.as_ref().map_or(&[][..], |a| &a.verifier[..]);
        if !password.is_empty() && equal(verifier, &sha2_verifier(password)) {
            Step::Accepted(Vec::new())
        } else {
            self.refused(password)
        }
    }

    fn has_no_password(&self) -> bool {
        self.account.as_ref().is_some_and(|a| a.verifier.is_empty())
    }

    fn refused(&self, response: &[u8]) -> Step {
        Step::Refused { using_password: !trimmed(response).is_empty() }
    }
}

/// Without the NUL that ends a password on the wire.
fn trimmed(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&[0]).unwrap_or(bytes)
}

/// `response` = SHA1(password) ⊕ SHA1(nonce, verifier), where SHA1(SHA1(password)) = verifier.
fn native_matches(verifier: &[u8], nonce: &[u8], response: &[u8]) -> bool {
    if response.len() != SHA1 || verifier.len() != SHA1 {
        return false;
    }
    let mask = Sha1::new().chain_update(nonce).chain_update(verifier).finalize();
    let hash: Vec<u8> = response.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    equal(&Sha1::digest(hash), verifier)
}

/// `response` = SHA256(password) ⊕ SHA256(verifier, nonce), where SHA256(SHA256(password)) = verifier.
fn sha2_matches(verifier: &[u8], nonce: &[u8], response: &[u8]) -> bool {
    if response.len() != SHA256 || verifier.len() != SHA256 {
        return false;
    }
    let mask = Sha256::new().chain_update(verifier).chain_update(nonce).finalize();
    let hash: Vec<u8> = response.iter().zip(mask).map(|(a, b)| a ^ b).collect();
    equal(&Sha256::digest(hash), verifier)
}

/// Compares without telling by the time it takes where the difference is.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client answers for `caching_sha2_password`.
    fn sha2_response(password: &[u8], nonce: &[u8]) -> Vec<u8> {
        let hash = Sha256::digest(password);
        let mask = Sha256::new().chain_update(Sha256::digest(hash)).chain_update(nonce).finalize();
        hash.iter().zip(mask).map(|(a, b)| a ^ b).collect()
    }

    /// What a client answers for `mysql_native_password`.
    fn native_response(password: &[u8], nonce: &[u8]) -> Vec<u8> {
        let hash = Sha1::digest(password);
        let mask = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(hash)).finalize();
        hash.iter().zip(mask).map(|(a, b)| a ^ b).collect()
    }

    fn account(plugin: Plugin, password: &[u8]) -> Account {
        let verifier = match plugin {
            Plugin::CachingSha2 => sha2_verifier(password),
            Plugin::Native => native_verifier(password),
        };
        Account { plugin, verifier, locked: false, require_tls: false, administrator: false }
    }

    const NONCE_A: [u8; NONCE] = *b"abcdefghijklmnopqrst";

    #[test]
    fn the_fast_path_needs_only_the_double_hash() {
        let mut exchange = Exchange::new(Some(account(Plugin::CachingSha2, b"secret")), NONCE_A, false);
        let response = sha2_response(b"secret", &NONCE_A);
        assert_eq!(exchange.begin(Some(Plugin::CachingSha2), &response, true), Step::Accepted(vec![1, 3]));
    }

    #[test]
    fn a_wrong_password_in_clear_text_is_refused_at_once() {
        let mut exchange = Exchange::new(Some(account(Plugin::CachingSha2, b"secret")), NONCE_A, false);
        let response = sha2_response(b"Secret", &NONCE_A);
        let step = exchange.begin(Some(Plugin::CachingSha2), &response, true);
        assert_eq!(step, Step::Refused { using_password: true });
    }

    #[test]
    fn over_tls_the_password_itself_decides() {
        for (password, right) in [(&b"secret\0"[..], true), (b"wrong\0", false)] {
            let mut exchange = Exchange::new(Some(account(Plugin::CachingSha2, b"secret")), NONCE_A, true);
            let step = exchange.begin(Some(Plugin::CachingSha2), &[7; 32], true);
            assert_eq!(step, Step::Ask(vec![1, 4]));
            let step = exchange.answer(password);
            assert_eq!(matches!(step, Step::Accepted(_)), right, "{step:?}");
        }
    }

    #[test]
    fn without_tls_the_password_travels_encrypted() {
        let key = PasswordKey::default();
        let key = key.get().unwrap();
        let mut exchange = Exchange::new(Some(account(Plugin::CachingSha2, b"secret")), NONCE_A, false);
        // A client that does not begin with a scramble.
        assert_eq!(exchange.begin(Some(Plugin::CachingSha2), &[4], true), Step::Ask(vec![1, 4]));
        assert_eq!(exchange.answer(&[2]), Step::NeedKey);
        let Step::Ask(asked) = exchange.with_key(key, &[2]) else { panic!() };
        assert!(asked.starts_with(b"\x01-----BEGIN PUBLIC KEY-----"));
        let mut password = *b"secret\0";
        password.iter_mut().zip(NONCE_A).for_each(|(p, n)| *p ^= n);
        let public = RsaPublicKey::from(&key.0);
        let encrypted = public.encrypt(&mut rsa::rand_core::OsRng, Oaep::new::<Sha1>(), &password).unwrap();
        assert_eq!(exchange.answer(&encrypted), Step::NeedKey);
        assert_eq!(exchange.with_key(key, &encrypted), Step::Accepted(Vec::new()));
        assert_eq!(exchange.with_key(key, b"nonsense"), Step::Refused { using_password: true });
    }

    #[test]
    fn another_plugin_is_switched_to_with_a_fresh_nonce() {
        let mut exchange = Exchange::new(Some(account(Plugin::Native, b"secret")), NONCE_A, false);
        let Step::Ask(asked) = exchange.begin(Some(Plugin::CachingSha2), &[9; 32], true) else { panic!() };
        assert!(asked.starts_with(b"\xfemysql_native_password\0"));
        let nonce = &asked[asked.len() - NONCE - 1..asked.len() - 1];
        assert_ne!(nonce, NONCE_A);
        assert_eq!(exchange.answer(&native_response(b"secret", nonce)), Step::Accepted(Vec::new()));
    }

    #[test]
    fn a_client_without_plugins_is_verified_natively_against_the_greeting() {
        let mut exchange = Exchange::new(Some(account(Plugin::Native, b"secret")), NONCE_A, false);
        let step = exchange.begin(Some(Plugin::Native), &native_response(b"secret", &NONCE_A), false);
        assert_eq!(step, Step::Accepted(Vec::new()));
        let mut exchange = Exchange::new(Some(account(Plugin::CachingSha2, b"secret")), NONCE_A, false);
        let step = exchange.begin(Some(Plugin::Native), &native_response(b"secret", &NONCE_A), false);
        assert_eq!(step, Step::Unsupported);
    }

    #[test]
    fn nobody_is_asked_and_refused_like_somebody() {
        let mut exchange = Exchange::new(None, NONCE_A, false);
        let step = exchange.begin(Some(Plugin::CachingSha2), &sha2_response(b"x", &NONCE_A), true);
        assert_eq!(step, Step::Refused { using_password: true });
        let mut exchange = Exchange::new(None, NONCE_A, false);
        let step = exchange.begin(Some(Plugin::CachingSha2), &[], true);
        assert_eq!(step, Step::Refused { using_password: false });
    }

    #[test]
    fn no_password_means_none_was_sent() {
        for plugin in [Plugin::CachingSha2, Plugin::Native] {
            let mut exchange = Exchange::new(Some(account(plugin, b"")), NONCE_A, false);
            assert_eq!(exchange.begin(Some(plugin), &[], true), Step::Accepted(Vec::new()));
            let mut exchange = Exchange::new(Some(account(plugin, b"")), NONCE_A, false);
            let step = exchange.begin(Some(plugin), &[5; 32], true);
            assert_eq!(step, Step::Refused { using_password: true });
        }
    }

    #[test]
    fn nonces_hold_neither_nul_nor_dollar() {
        for _ in 0..200 {
            assert!(fresh_nonce().iter().all(|b| *b != 0 && *b != b'$' && *b < 0x80));
        }
    }
}
