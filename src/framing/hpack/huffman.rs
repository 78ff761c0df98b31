//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B), in the direction in which clients send.

use std::sync::LazyLock;

/// How long the code of each byte is in bits, the last one that of the mark for the end, which may not be sent. The
/// code is canonical: of codes as long as another, that of the smaller byte is smaller, and shorter codes come first.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28,
    28, //
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, //
    6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, //
    6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, //
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22,
    23, //
    22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
    22, //
    23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24,
    25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, //
    25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30, //
];

/// The longest code.
const LONGEST: u8 = 30;

/// What four more bits lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// On, from this place.
    On(u8),
    /// A byte, and on from this place.
    Byte(u8, u8),
    /// Nowhere: the mark for the end, or bits that begin no code.
    Nowhere,
}

/// The code as a machine that takes four bits at a time. A place is a beginning of codes; the first is that of all.
struct Machine {
    steps: Vec<[Step; 16]>,
    /// Whether a text may end at the place: less than a byte behind the last whole code, and nothing but ones.
    is_end: Vec<bool>,
}

static MACHINE: LazyLock<Machine> = LazyLock::new(Machine::new);

/// Where one more bit leads in the tree of codes.
#[derive(Debug, Clone, Copy)]
enum Branch {
    Place(usize),
    Symbol(usize),
    Nothing,
}

impl Machine {
    fn new() -> Self {
        let tree = tree();
        let walk = |place: usize, bits: u8| {
            let mut at = place;
            let mut byte = None;
            for shift in (0..4).rev() {
                match branch(&tree, at, bits >> shift & 1) {
                    Branch::Place(next) => at = next,
                    Branch::Symbol(symbol) => match u8::try_from(symbol) {
                        Ok(symbol) => {
                            byte = Some(symbol);
                            at = 0;
                        }
                        Err(_) => return Step::Nowhere,
                    },
                    Branch::Nothing => return Step::Nowhere,
                }
            }
            match (u8::try_from(at), byte) {
                (Ok(at), None) => Step::On(at),
                (Ok(at), Some(byte)) => Step::Byte(byte, at),
                (Err(_), _) => Step::Nowhere,
            }
        };
        let row = |place: usize| {
            let mut row = [Step::Nowhere; 16];
            for (step, bits) in row.iter_mut().zip(0..) {
                *step = walk(place, bits);
            }
            row
        };
        let mut is_end = vec![false; tree.len()];
        let mut at = 0;
        for _ in 0..8 {
            if let Some(end) = is_end.get_mut(at) {
                *end = true;
            }
            let Branch::Place(next) = branch(&tree, at, 1) else { break };
            at = next;
        }
        Self { steps: (0..tree.len()).map(row).collect(), is_end }
    }
}

fn branch(tree: &[[Branch; 2]], place: usize, bit: u8) -> Branch {
    let branches = tree.get(place).copied().unwrap_or([Branch::Nothing; 2]);
    let [zero, one] = branches;
    if bit == 0 { zero } else { one }
}

/// The tree of all codes.
fn tree() -> Vec<[Branch; 2]> {
    let mut tree = vec![[Branch::Nothing; 2]];
    let mut code: u32 = 0;
    for length in 1..=LONGEST {
        code <<= 1;
        for symbol in LENGTHS.iter().enumerate().filter(|(_, of)| **of == length).map(|(symbol, _)| symbol) {
            plant(&mut tree, code, length, symbol);
            code += 1;
        }
    }
    tree
}

/// Puts the code of `symbol` into `tree`: the lowest `length` bits of `code`.
fn plant(tree: &mut Vec<[Branch; 2]>, code: u32, length: u8, symbol: usize) {
    let mut at = 0;
    for shift in (0..length).rev() {
        let bit = (code >> shift & 1) as u8;
        let next = match (shift, branch(tree, at, bit)) {
            (0, _) => Branch::Symbol(symbol),
            (_, Branch::Place(next)) => Branch::Place(next),
            (_, Branch::Symbol(_) | Branch::Nothing) => {
                tree.push([Branch::Nothing; 2]);
                Branch::Place(tree.len() - 1)
            }
        };
        if let Some([zero, one]) = tree.get_mut(at) {
            *(if bit == 0 { zero } else { one }) = next;
        }
        if let Branch::Place(next) = next {
            at = next;
        }
    }
}

/// The text behind `coded`; `None` where it is none, or ends in anything but the beginning of the mark for the end.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let machine = &*MACHINE;
    // No code is shorter than five bits.
    let mut text = Vec::with_capacity(coded.len() * 8 / 5);
    let mut place = 0;
    for bits in coded.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        match machine.steps.get(usize::from(place))?.get(usize::from(bits))? {
            Step::On(next) => place = *next,
            Step::Byte(byte, next) => {
                text.push(*byte);
                place = *next;
            }
            Step::Nowhere => return None,
        }
    }
    machine.is_end.get(usize::from(place))?.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte of `text` as its code, and ones up to the next whole byte.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits = Vec::new();
        for byte in text {
            let (mut code, mut codes) = (0_u32, [(0, 0); 257]);
            for length in 1..=LONGEST {
                code <<= 1;
                for (symbol, _) in LENGTHS.iter().enumerate().filter(|(_, of)| **of == length) {
                    codes[symbol] = (code, length);
                    code += 1;
                }
            }
            let (code, length) = codes[usize::from(*byte)];
            bits.extend((0..length).rev().map(|shift| code >> shift & 1));
        }
        bits.resize(bits.len().next_multiple_of(8), 1);
        bits.chunks(8)
            .map(|byte| byte.iter().fold(0, |value, bit| value << 1 | u8::try_from(*bit).unwrap()))
            .collect()
    }

    #[test]
    fn every_byte_and_the_examples_of_the_rfc() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(decode(&encode(&all)).as_deref(), Some(&all[..]));
        for byte in 0..=u8::MAX {
            assert_eq!(decode(&encode(&[byte, b'a'])), Some(vec![byte, b'a']));
        }
        // RFC 7541 appendices C.4 and C.6.
        for (coded, want) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", "custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (b"", ""),
        ] {
            assert_eq!(decode(coded).as_deref(), Some(want.as_bytes()));
        }
    }

    #[test]
    fn padding_is_short_and_of_ones() {
        // `a` is 00011; three bits follow.
        assert_eq!(decode(&[0b0001_1111]), Some(b"a".to_vec()));
        for wrong in [
            &[0b0001_1000][..],
            &[0b0001_1110],
            &[0b0001_1111, 0xff],
            &[0xff],
            &[0xff; 4],
            &[0xff, 0xff, 0xff, 0xfc],
        ] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }
}
