use proptest::prelude::*;
use zstd_safe::{CCtx, CParameter};

use super::*;

fn event(type_code: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 0, type_code, 5, 0, 0, 0];
    bytes.extend(((HEADER + body.len()) as u32).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 8, 0]);
    bytes.extend(body);
    bytes
}

fn field(out: &mut Vec<u8>, field: u8, value: u64) {
    let value = value.to_le_bytes();
    out.extend([field, 9, 0xfe]);
    out.extend(value);
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
    zstd_safe::compress(&mut out, content, 3).unwrap();
    out
}

/// A body that states what it is told to.
fn stating(size: u64, compression: u64, uncompressed: Option<u64>, rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 2, compression);
    if let Some(uncompressed) = uncompressed {
        field(&mut out, 3, uncompressed);
    }
    // Of a later version.
    out.extend([77, 3, 1, 2, 3]);
    field(&mut out, 1, size);
    out.push(0);
    out.extend(rest);
    out
}

fn body(content: &[u8]) -> Vec<u8> {
    let frame = compressed(content);
    stating(frame.len() as u64, 0, Some(content.len() as u64), &frame)
}

/// Offset, type, body, whether it is the last.
type Event = (u64, u8, Vec<u8>, bool);

/// Each event. The parts end at `cuts`.
fn read(payload: &mut Payload, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Event>, DecodeError> {
    payload.begin();
    let (mut out, mut begun) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let mut input = &bytes[begun..cut];
        begun = cut;
        while let Some(event) = payload.next(&mut input, cut == bytes.len())? {
            assert!(
                !event.last || begun == bytes.len(),
                "the last comes when all has come"
            );
            out.push((
                event.offset,
                event.type_code,
                event.body.to_vec(),
                event.last,
            ));
        }
        assert!(input.is_empty());
    }
    assert!(out.last().is_none_or(|event| event.3));
    Ok(out)
}

fn flaw(bytes: &[u8]) -> String {
    read(&mut Payload::default(), bytes, &[])
        .unwrap_err()
        .to_string()
}

/// BEGIN, some rows, the end.
fn sample() -> (Vec<u8>, Vec<Event>) {
    let (mut content, mut events) = (Vec::new(), Vec::new());
    for (type_code, length) in [(2u8, 40), (19, 60), (30, 300), (30, 0), (16, 8)] {
        let body = vec![type_code; length];
        events.push((
            content.len() as u64,
            type_code,
            body.clone(),
            type_code == 16,
        ));
        content.extend(event(type_code, &body));
    }
    (content, events)
}

#[test]
fn however_it_is_cut_it_yields_the_same_events() {
    let (content, events) = sample();
    let mut payload = Payload::default();
    let stored = stating(content.len() as u64, 255, None, &content);
    let half = content.len() / 2;
    let frames = [compressed(&content[..half]), compressed(&content[half..])].concat();
    let two = stating(frames.len() as u64, 0, Some(content.len() as u64), &frames);
    for bytes in [body(&content), stored, two] {
        for cut in 0..=bytes.len() {
            assert_eq!(read(&mut payload, &bytes, &[cut]).unwrap(), events);
        }
        let each: Vec<_> = (0..bytes.len()).collect();
        assert_eq!(read(&mut payload, &bytes, &each).unwrap(), events);
    }
}

#[test]
fn truncated_anywhere_it_is_an_error_and_has_no_last_event() {
    let (content, _) = sample();
    let whole = body(&content);
    let mut payload = Payload::default();
    for length in 0..whole.len() {
        let (bytes, rest) = whole.split_at(length);
        assert!(read(&mut payload, bytes, &[]).is_err(), "{length}");
        // While more may come, there is nothing to complain about, and nothing that is final.
        payload.begin();
        let mut input = bytes;
        while let Some(event) = payload.next(&mut input, false).unwrap() {
            assert!(!event.last);
        }
        assert!(!rest.is_empty());
    }
}

#[test]
fn what_it_states_must_be_so() {
    let (content, _) = sample();
    let frame = compressed(&content);
    let (size, uncompressed) = (frame.len() as u64, content.len() as u64);
    for (bytes, says) in [
        (
            stating(size, 0, Some(uncompressed - 1), &frame),
            "expands to more than it states",
        ),
        (
            stating(size, 0, Some(uncompressed - 27), &frame),
            "expands to more than it states",
        ),
        (
            stating(size, 0, Some(uncompressed + 1), &frame),
            "expands to less than it states",
        ),
        (
            stating(size, 0, None, &frame),
            "does not state its uncompressed size",
        ),
        (
            stating(size - 1, 0, Some(uncompressed), &frame),
            "is longer than it states",
        ),
        (
            stating(size + 1, 0, Some(uncompressed), &frame),
            "is shorter than it states",
        ),
        (
            stating(size, 7, Some(uncompressed), &frame),
            "neither zstd nor none",
        ),
        (
            stating(size, 255, Some(uncompressed), &frame),
            "of its content",
        ),
        (stating(0, 0, Some(0), b"x"), "is longer than it states"),
        (vec![1, 2, 0xfc], "ends early"),
        (vec![0], "does not state its size"),
        (vec![1, 1, 5, 0], "does not state its compression"),
        (
            vec![1, 2, 5, 0, 0],
            "a field whose length is not that of its value",
        ),
        (vec![77; 4000], "ends early"),
        (
            [vec![77, 0xfd, 0, 0, 1], vec![0; 4000]].concat(),
            "ends early",
        ),
    ] {
        let flaw = flaw(&bytes);
        assert!(flaw.contains(says), "{flaw}; not: {says}");
        assert!(flaw.contains("TRANSACTION_PAYLOAD"), "{flaw}");
    }
    // Fields without end are not waited for.
    let mut payload = Payload::default();
    payload.begin();
    assert!(
        payload
            .next(&mut &[77, 0, 77, 0].repeat(400)[..], false)
            .is_err()
    );
}

#[test]
fn bad_content_is_named_with_its_place() {
    let good = event(30, &[1; 50]);
    for (bad, says) in [
        (event(40, &body(&good)), "holds another payload, at byte 69"),
        (
            event(30, &[])[..18].to_vec(),
            "ends in the middle of an event",
        ),
        (
            {
                let mut short = event(30, b"x");
                short[9] = 18;
                short
            },
            "shorter than its header, at byte 69",
        ),
        (
            {
                let mut long = event(30, b"x");
                long[12] = 0x40;
                long
            },
            "longer than what is left, at byte 69",
        ),
    ] {
        let flaw = flaw(&body(&[good.clone(), bad].concat()));
        assert!(flaw.contains(says), "{flaw}; not: {says}");
    }
    // An unending one: its end is not waited for, nor made room for.
    let huge = compressed(&vec![0; 64 << 20]);
    let mut payload = Payload::default();
    let bytes = stating(huge.len() as u64, 0, Some(1000), &huge);
    let error = read(&mut payload, &bytes, &[]).unwrap_err();
    assert!(error.to_string().contains("expands to more"), "{error}");
    let zeros = [event(30, &[0; 981]), vec![0; 64 << 20]].concat();
    let huge = compressed(&zeros);
    let bytes = stating(huge.len() as u64, 0, Some(1000), &huge);
    let error = read(&mut payload, &bytes, &[]).unwrap_err();
    assert!(error.to_string().contains("expands to more"), "{error}");
    assert!(payload.buffer.capacity() <= 2 * ROOM);
    assert!(!zeros.is_empty());
}

#[test]
fn a_length_is_not_believed_before_its_bytes_come() {
    let mut content = event(30, &[]);
    content[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
    let frame = compressed(&content);
    let bytes = stating(1 << 30, 0, Some(10 << 30), &frame);
    let mut payload = Payload::default();
    payload.begin();
    assert!(payload.next(&mut &bytes[..], false).unwrap().is_none());
    assert!(payload.buffer.capacity() <= 2 * ROOM);
}

#[test]
fn the_window_has_a_limit() {
    let frame = |window| {
        let mut context = CCtx::try_create().unwrap();
        context
            .set_parameter(CParameter::WindowLog(window))
            .unwrap();
        let (content, mut out) = (event(16, &[0; 8]), vec![0; 1000]);
        let mut sink = OutBuffer::around(&mut out[..]);
        context
            .compress_stream(&mut sink, &mut InBuffer::around(&content))
            .unwrap();
        // An end that does not know the size from the beginning.
        context.flush_stream(&mut sink).unwrap();
        assert_eq!(context.end_stream(&mut sink).unwrap(), 0);
        let length = sink.pos();
        out.truncate(length);
        stating(length as u64, 0, Some(content.len() as u64), &out)
    };
    let mut payload = Payload::default();
    assert_eq!(read(&mut payload, &frame(27), &[]).unwrap().len(), 1);
    // What the window took is given back.
    assert!(payload.zstd.is_none());
    assert_eq!(read(&mut payload, &frame(20), &[]).unwrap().len(), 1);
    assert!(payload.zstd.is_some());
    let flaw = flaw(&frame(28));
    assert!(flaw.contains("a window of more than 128 MiB"), "{flaw}");
}

#[test]
fn memory_of_a_large_event_is_given_back() {
    let small = event(30, &[3; 5000]);
    let mut content = event(30, &vec![1; 20 << 20]);
    for _ in 0..200 {
        content.extend(&small);
    }
    let bytes = body(&content);
    let mut payload = Payload::default();
    payload.begin();
    let (mut input, mut largest, mut now) = (&bytes[..], 0, 0);
    while payload.next(&mut input, true).unwrap().is_some() {
        now = payload.buffer.capacity();
        largest = largest.max(now);
    }
    assert!((20 << 20..21 << 20).contains(&largest), "{largest}");
    assert!(now <= KEPT, "{now}");
}

#[test]
fn any_flipped_bit_is_survived() {
    let (content, _) = sample();
    let good = body(&content);
    let mut payload = Payload::default();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // It may be found out or, without a checksum in the stream, not: that is what the outer event's is for.
            let _ = read(&mut payload, &bad, &[at]);
            assert!(payload.buffer.capacity() <= KEPT);
        }
    }
    assert!(read(&mut payload, &good, &[]).is_ok());
}

proptest! {
    #[test]
    fn any_events_in_any_parts(
        lengths in prop::collection::vec(0usize..200_000, 1..8),
        cuts in prop::collection::vec(0usize..10_000, 0..6),
        stored: bool,
    ) {
        let mut content = Vec::new();
        for (n, &length) in lengths.iter().enumerate() {
            let noise: Vec<u8> = (0..length).map(|i| (i * i % 251 + n) as u8).collect();
            content.extend(event(30, &noise));
        }
        let bytes = match stored {
            true => stating(content.len() as u64, 255, None, &content),
            false => body(&content),
        };
        let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        cuts.sort_unstable();
        let got = read(&mut Payload::default(), &bytes, &cuts).unwrap();
        prop_assert_eq!(got.iter().map(|e| e.2.len()).collect::<Vec<_>>(), lengths);
        let again: Vec<u8> = got.iter().flat_map(|e| event(e.1, &e.2)).collect();
        prop_assert!(again == content);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), framed: bool, whole: bool) {
        let bytes = match framed {
            true => stating(bytes.len() as u64, u64::from(bytes.len() % 2 == 0) * 255, Some(1000), &bytes),
            false => bytes,
        };
        let mut payload = Payload::default();
        payload.begin();
        let mut input = &bytes[..];
        while let Ok(Some(_)) = payload.next(&mut input, whole) {}
    }
}
