#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::http2::hpack::encoder;

type Fields = Vec<(String, String)>;

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Unreadable> {
    let mut fields = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let read = decoder.read(block, 1 << 16, |name, value| {
        fields.push((text(name), text(value)));
    })?;
    assert_eq!(read, Read::Whole);
    Ok(fields)
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    fields.iter().map(own).collect()
}

/// Three requests, in plain bytes and in Huffman's code (RFC 7541 appendix C.3 and C.4).
#[test]
fn requests_of_the_rfc() {
    let plain: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x0fwww.example.com",
        b"\x82\x86\x84\xbe\x58\x08no-cache",
        b"\x82\x87\x85\xbf\x40\x0acustom-key\x0ccustom-value",
    ];
    let coded: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    let authority = (":authority", "www.example.com");
    let first = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        authority,
    ];
    let second = [&first[..], &[("cache-control", "no-cache")]].concat();
    let third = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        authority,
        ("custom-key", "custom-value"),
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        for (block, fields) in blocks.iter().zip([&first[..], &second, &third]) {
            assert_eq!(read(&mut decoder, block), Ok(owned(fields)));
        }
    }
}

#[test]
fn the_size_of_the_table_is_said_first_and_within_the_limit() {
    for (block, fine) in [
        (&b"\x20\x82"[..], true),
        (b"\x20\x3f\xe1\x1f\x82", true),
        (b"\x3f\xe2\x1f\x82", false),
        (b"\x82\x20", false),
        (b"\x20\x20\x20\x82", false),
    ] {
        let read = read(&mut Decoder::new(), block);
        assert_eq!(read.is_ok(), fine, "{block:x?}");
    }
    let mut decoder = Decoder::new();
    read(&mut decoder, b"\x40\x01a\x011").unwrap();
    assert_eq!(read(&mut decoder, b"\xbe"), Ok(owned(&[("a", "1")])));
    assert_eq!(
        read(&mut decoder, b"\x20\xbe"),
        Err(Unreadable),
        "it is gone"
    );
}

#[test]
fn a_list_too_large_leaves_the_table_as_it_must_be() {
    let mut decoder = Decoder::new();
    let mut seen = 0;
    let much = b"\x40\x01a\x011\x40\x01b\x012\x40\x01c\x013";
    let read = decoder.read(much, 2 * 34, |_, _| seen += 1);
    assert_eq!((read, seen), (Ok(Read::TooLarge), 2));
    let fields = super::tests::read(&mut decoder, b"\xbe\xbf\xc0");
    assert_eq!(fields, Ok(owned(&[("c", "3"), ("b", "2"), ("a", "1")])));
}

#[test]
fn the_name_of_an_entry_that_makes_room_for_itself() {
    let mut decoder = Decoder::new();
    // A table for one entry of 36 bytes; the second is as large and has the name of the first.
    let block = b"\x3f\x05\x40\x02ab\x0212\x7e\x0234\xbe";
    let fields = owned(&[("ab", "12"), ("ab", "34"), ("ab", "34")]);
    assert_eq!(read(&mut decoder, block), Ok(fields));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,30}",
        proptest::sample::select(&["content-type", "set-cookie", "date", "age", "via"][..])
            .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(blocks in vec(vec(any::<u8>(), 0..200), 0..6)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            let mut size = 0;
            let read = decoder.read(&block, 500, |name, value| size += size_of((name, value)));
            prop_assert!(size <= 500);
            if read.is_err() {
                break;
            }
        }
    }

    #[test]
    fn what_was_written_is_read(fields in vec((name(), "[ -~]{0,300}"), 0..20), status in 100u16..1000) {
        let status = status.to_string();
        let mut block = Vec::new();
        encoder::write_no_table(&mut block);
        encoder::write_status(&mut block, status.as_bytes().try_into().unwrap());
        for (name, value) in &fields {
            encoder::write_field(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut expected = vec![(":status".to_owned(), status)];
        expected.extend(fields);
        prop_assert_eq!(read(&mut Decoder::new(), &block), Ok(expected));
    }
}
