//! Base64 (RFC 4648 section 4), strict, and as a stream that arrives in any pieces; in the alphabet of URLs as a whole.

use bytes::Bytes;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NO_DIGIT: u8 = 0xff;

/// What each byte stands for.
static VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

/// What is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

/// The text of `bytes`, padded.
pub fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(encoded_len(bytes.len()));
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            text.push(match index <= three.len() {
                true => DIGITS[(group >> (18 - 6 * index) & 0x3f) as usize],
                false => b'=',
            });
        }
    }
    text
}

/// Characters that `len` bytes become.
pub fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// The bytes of `text` in the alphabet of URLs, without padding (RFC 7515 section 2). One text for each content.
pub fn decode_url(text: &[u8]) -> Result<Vec<u8>, Invalid> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for digits in text.chunks(4) {
        let mut group = 0;
        for digit in digits {
            let value = match *digit {
                b'-' => 62,
                b'_' => 63,
                b'+' | b'/' => NO_DIGIT,
                other => VALUES[usize::from(other)],
            };
            if value == NO_DIGIT {
                return Err(Invalid("a byte is no base64 of URLs"));
            }
            group = group << 6 | u32::from(value);
        }
        let whole = (group << (6 * (4 - digits.len()))).to_be_bytes();
        let unused = match digits.len() {
            4 => 0,
            3 => whole[3],
            2 => whole[2] | whole[3],
            _ => return Err(Invalid("base64 ends inside a group")),
        };
        if unused != 0 {
            return Err(Invalid("base64 has bits behind its last byte"));
        }
        bytes.extend_from_slice(&whole[1..digits.len()]);
    }
    Ok(bytes)
}

/// Reads text piece by piece. Padding ends a group and not the text: what was written in parts, each padded, is one text.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Of the group that is not complete: its digits so far, six bits each, and their number.
    group: u32,
    digits: u8,
    /// Padding seen in it.
    padding: u8,
}

impl Decoder {
    /// The bytes of all groups that `text` completes.
    pub fn decode(&mut self, text: &[u8]) -> Result<Bytes, Invalid> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
        for character in text {
            match VALUES[usize::from(*character)] {
                NO_DIGIT if *character == b'=' => self.pad()?,
                NO_DIGIT => return Err(Invalid("a byte is no base64")),
                _ if self.padding > 0 => return Err(Invalid("base64 goes on inside its padding")),
                value => {
                    self.group = self.group << 6 | u32::from(value);
                    self.digits += 1;
                }
            }
            if self.digits + self.padding == 4 {
                let whole = (self.group << (6 * u32::from(self.padding))).to_be_bytes();
                bytes.extend_from_slice(&whole[1..4 - usize::from(self.padding)]);
                *self = Decoder::default();
            }
        }
        Ok(bytes.into())
    }

    /// False while a group is not complete: the text cannot end there.
    pub fn is_whole(&self) -> bool {
        self.digits == 0
    }

    fn pad(&mut self) -> Result<(), Invalid> {
        if self.digits < 2 {
            return Err(Invalid("base64 padding stands where a digit must"));
        }
        // One text for each content: the bits that no byte takes are 0 (RFC 4648 section 3.5).
        let unused = if self.digits == 2 { 0xf } else { 0x3 };
        if self.group & unused != 0 {
            return Err(Invalid("base64 has bits behind its last byte"));
        }
        self.padding += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    /// The content of a text that comes in these pieces.
    fn decoded(pieces: &[&[u8]]) -> Result<Vec<u8>, Invalid> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(&decoder.decode(piece)?);
        }
        if decoder.is_whole() {
            Ok(bytes)
        } else {
            Err(Invalid("the text ends inside a group"))
        }
    }

    #[test]
    fn it_is_as_its_rfc_says_both_ways() {
        for (bytes, text) in VECTORS {
            assert_eq!(encode(bytes.as_bytes()), text.as_bytes());
            assert_eq!(encoded_len(bytes.len()), text.len());
            assert_eq!(decoded(&[text.as_bytes()]).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn that_of_urls_has_two_other_digits_and_no_padding() {
        for (bytes, text) in VECTORS {
            assert_eq!(
                decode_url(text.trim_end_matches('=').as_bytes()).unwrap(),
                bytes.as_bytes()
            );
        }
        assert_eq!(decode_url(b"-_-_").unwrap(), [0xfb, 0xff, 0xbf]);
        for text in ["Zg==", "+/+/", "Z", "Zm9vY", "Zh", "Zm9", "Zm9v ", "Zm 9"] {
            assert!(decode_url(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn padding_may_stand_between_parts() {
        let text: String = VECTORS.iter().map(|(_, text)| *text).collect();
        let bytes: String = VECTORS.iter().map(|(bytes, _)| *bytes).collect();
        assert_eq!(decoded(&[text.as_bytes()]).unwrap(), bytes.as_bytes());
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(decoded(&single).unwrap(), bytes.as_bytes());
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in [
            "Z", "Zg", "Zg=", "Zm8", "=", "Z===", "Zg=g", "Zh==", "Zm9=", "Zm 9v", "Zm9-", "Zg===",
        ] {
            assert!(decoded(&[text.as_bytes()]).is_err(), "{text}");
        }
    }

    #[test]
    fn random_bytes_decode_alike_in_any_pieces_and_only_to_what_encodes_to_them() {
        crate::random::fuzz("base64", |bytes| {
            let whole = decoded(&[bytes]);
            let (head, tail) = bytes.split_at(crate::random::below(bytes.len() + 1));
            assert_eq!(decoded(&[head, tail]), whole);
            if let Ok(content) = whole {
                // Without padding inside it there is one text only.
                let padding = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
                if bytes.len() - padding <= 2 && bytes[padding..].iter().all(|byte| *byte == b'=') {
                    assert_eq!(encode(&content), bytes);
                }
            }
        });
    }
}
