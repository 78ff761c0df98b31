//! Blocks, good and bad: those of the RFC, and those of attackers.

use proptest::prelude::*;

use super::*;

fn text(field: &Field) -> (String, String) {
    let name = match &field.name {
        Name::Method => ":method".into(),
        Name::Scheme => ":scheme".into(),
        Name::Authority => ":authority".into(),
        Name::Path => ":path".into(),
        Name::UnknownPseudo => ":?".into(),
        Name::Header(name) => name.to_string(),
        Name::Malformed => "?".into(),
    };
    let value = match &field.value {
        Value::Header(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::Malformed => "?".into(),
    };
    (name, value)
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, |field| fields.push(text(field)))?;
    Ok(fields)
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.bytes().filter(|digit| *digit != b' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[track_caller]
fn check(decoder: &mut Decoder, block: &[u8], want: &[(&str, &str)]) {
    let want: Vec<_> = want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(decode(decoder, block), Ok(want));
}

const FIRST: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];

/// RFC 7541 appendices C.3 and C.4: three requests on one connection, without and with Huffman coding.
#[test]
fn the_examples_of_the_rfc() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::default();
        check(&mut decoder, &bytes(blocks[0]), &FIRST);
        check(&mut decoder, &bytes(blocks[1]), &[&FIRST[..], &[("cache-control", "no-cache")]].concat());
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        check(&mut decoder, &bytes(blocks[2]), &third);
        assert_eq!(decoder.weight, 164, "as the RFC counts");
    }
}

/// RFC 7541 appendix C.2: literals that are and are not kept.
#[test]
fn what_is_not_to_be_kept_is_not_kept() {
    let mut decoder = Decoder::default();
    let password = bytes("1008 7061 7373 776f 7264 0673 6563 7265 74");
    check(&mut decoder, &password, &[("password", "secret")]);
    check(&mut decoder, &bytes("040c 2f73 616d 706c 652f 7061 7468"), &[(":path", "/sample/path")]);
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(HpackError), "nothing was kept");
}

#[test]
fn the_table_forgets_the_oldest_and_what_is_too_large() {
    let mut decoder = Decoder::default();
    let field =
        |name: u8, length: u8| [&[0x40, 1, name, 127, length - 127][..], &vec![b'x'; length.into()]].concat();
    for name in b'a'..=b'z' {
        decode(&mut decoder, &field(name, 223)).unwrap();
    }
    // 256 each.
    assert_eq!((decoder.table.len(), decoder.weight), (16, 4096));
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap()[0].0, "z");
    assert_eq!(decode(&mut decoder, &[0xbe + 15]).unwrap()[0].0, "k");
    assert_eq!(decode(&mut decoder, &[0xbe + 16]), Err(HpackError));
    // Down to 512: 31, and 481 as 225 + 3 * 128.
    check(&mut decoder, &[0x3f, 0xe1, 0x03], &[]);
    assert_eq!((decoder.table.len(), decoder.weight), (2, 512));
    // As large as it ever was, and what does not fit.
    decode(
        &mut decoder,
        &[&[0x3f, 0xe1, 0x1f][..], &[0x40, 1, b'a', 0x7f, 0xe1, 0x1f], &[b'x'; 4192]].concat(),
    )
    .unwrap();
    assert_eq!((decoder.table.len(), decoder.weight), (0, 0));
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    for block in [
        // No such field.
        "80",
        "be",
        "ff ff ff ff 0f",
        "7f ff ff ff ff 0f 00",
        // A number that ends too early, or never.
        "ff",
        "ff 80",
        "ff 80 80 80 80 80 00",
        "ff ff ff ff ff ff 7f",
        // A text that ends too early.
        "40",
        "40 01",
        "40 01 61",
        "40 01 61 05 61",
        "00 7f ff ff ff ff 07 61",
        // A table larger than ours, or a size behind a field.
        "3f e2 1f",
        "82 20",
        "3f ff ff ff ff 0f",
        // Huffman code that is none.
        "40 81 00 01 61",
        "00 01 61 84 ff ff ff ff",
    ] {
        assert_eq!(decode(&mut Decoder::default(), &bytes(block)), Err(HpackError), "{block}");
    }
}

#[test]
fn what_may_not_be_sent_is_told() {
    let literal = |name: &[u8], value: &[u8]| {
        let length = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0, length(name)], name, &[length(value)], value].concat()
    };
    for (name, value, want) in [
        (&b"X-Upper"[..], &b"a"[..], ("?", "?")),
        (b"", b"a", ("?", "?")),
        (b"a b", b"a", ("?", "?")),
        (b"a:", b"a", ("?", "?")),
        (b":protocol", b"websocket", (":?", "?")),
        (b":", b"", (":?", "?")),
        (b"x", b" a", ("x", "?")),
        (b"x", b"a\t", ("x", "?")),
        (b"x", b"a\r\nb: c", ("x", "?")),
        (b"x", b"a\0b", ("x", "?")),
        (b"x", b"a b", ("x", "a b")),
        (b":authority", b"a\nb", (":authority", "?")),
        (b":path", b"/a b", (":path", "/a b")),
    ] {
        check(&mut Decoder::default(), &literal(name, value), &[want]);
    }
}

/// What we write is read as it was meant.
#[test]
fn statuses_and_fields_are_read_back() {
    let mut block = Vec::new();
    begin(&mut block);
    let long = "x".repeat(20_000);
    let names = [
        "age",
        "vary",
        "etag",
        "date",
        "link",
        "via",
        "server",
        "location",
        "content-type",
        "accept-ranges",
        "cache-control",
        "last-modified",
        "content-length",
        "content-encoding",
        "www-authenticate",
        "x-request-id",
    ];
    for name in names {
        push_field(&mut block, name, b"1");
    }
    for length in [0, 126, 127, 128, 254, 255, 256, 16_511, 20_000] {
        push_field(&mut block, "x", &long.as_bytes()[..length]);
    }
    let read = decode(&mut Decoder::default(), &block).unwrap();
    let (first, rest) = read.split_at(names.len());
    assert!(
        first.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(names.map(|name| (name, "1")))
    );
    let lengths: Vec<_> = rest.iter().map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, [0, 126, 127, 128, 254, 255, 256, 16_511, 20_000]);
    for (status, want) in [
        (200, "88"),
        (404, "8d"),
        (500, "8e"),
        (403, "08 03 34 30 33"),
        (204, "89"),
        (206, "8a"),
        (304, "8b"),
        (400, "8c"),
    ] {
        let mut block = Vec::new();
        push_status(&mut block, http::StatusCode::from_u16(status).unwrap());
        assert_eq!(block, bytes(want));
    }
}

proptest! {
    /// Whatever comes, the table keeps its size, and nothing panics.
    #[test]
    fn any_block_is_read_or_a_fault(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let is_read = decoder.decode(&block, |_| {}).is_ok();
            let weight: usize = decoder.table.iter().map(Field::weight).sum();
            prop_assert_eq!(weight, decoder.weight);
            prop_assert!(weight <= TABLE_SIZE);
            if !is_read {
                break;
            }
        }
    }
}
