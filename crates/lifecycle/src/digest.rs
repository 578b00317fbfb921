//! Digests: of bytes without a key, and of a configuration with a key.

use std::io;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Returns the digest of a configuration: an HMAC, because the values in it may be secret and the
/// digest is compared in the open. The order of the fields of `inputs` counts.
///
/// # Panics
/// Never: HMAC takes keys of any length, and the inputs have a JSON form.
#[expect(clippy::expect_used, reason = "neither the key's length nor a stream can fail")]
pub fn config_digest(key: &[u8], inputs: &impl Serialize) -> String {
    struct Keyed(Hmac<Sha256>);
    impl io::Write for Keyed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    let mut keyed = Keyed(mac);
    // A configuration may be large: it is not copied into a text first.
    serde_json::to_writer(&mut keyed, inputs).expect("it has text for keys, and no stream fails");
    let Keyed(mac) = keyed;
    format!("hmac-sha256:{}", hex(&mac.finalize().into_bytes()))
}

/// The digest of `bytes`, `sha256:` and 64 digits.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
