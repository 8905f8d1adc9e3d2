//! A row that is larger than a record: one change as several fragments (docs/format, "Fragments").

use binferry_schemas::record::{Change, Image};

/// The fragments of `change`, each with at most `limit` bytes of images; before images first, then after images. The last one has
/// `more` unset.
pub fn fragments<'a>(change: Change<'a>, limit: usize) -> impl Iterator<Item = Change<'a>> {
    let limit = limit.max(1);
    let mut before = change.before;
    let mut after = change.after;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut room = limit;
        let first = cut(&mut before, &mut room);
        // After images begin only when the before image is whole.
        let second = match before {
            None if room > 0 || first.is_none() => cut(&mut after, &mut room),
            _ => None,
        };
        done = before.is_none() && after.is_none();
        Some(Change {
            before: first,
            after: second,
            more: !done,
            ..change
        })
    })
}

/// Takes at most `room` bytes from the front of `image`; leaves `None` when nothing is left.
fn cut<'a>(image: &mut Option<Image<'a>>, room: &mut usize) -> Option<Image<'a>> {
    let whole = image.take()?;
    let take = whole.datum.len().min(*room);
    *room -= take;
    let (front, rest) = whole.datum.split_at(take);
    if !rest.is_empty() {
        *image = Some(Image {
            datum: rest,
            ..whole
        });
    }
    Some(Image {
        datum: front,
        ..whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use binferry_schemas::record::Operation;

    fn join(change: Change<'_>, limit: usize) -> (usize, Option<Vec<u8>>, Option<Vec<u8>>) {
        let (mut before, mut after): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
        let parts: Vec<_> = fragments(change, limit).collect();
        for (n, part) in parts.iter().enumerate() {
            assert_eq!(part.more, n + 1 < parts.len());
            let size =
                part.before.map_or(0, |i| i.datum.len()) + part.after.map_or(0, |i| i.datum.len());
            assert!(size <= limit);
            // Before images come first.
            assert!(
                part.before.is_none()
                    || part.after.is_none()
                    || n + 1 == parts.len()
                    || parts[n + 1].before.is_none()
            );
            if let Some(image) = part.before {
                assert!(after.is_none());
                before
                    .get_or_insert_default()
                    .extend_from_slice(image.datum);
            }
            if let Some(image) = part.after {
                after.get_or_insert_default().extend_from_slice(image.datum);
            }
        }
        (parts.len(), before, after)
    }

    #[test]
    fn fragments_join_to_the_change() {
        let (b, a) = ([1u8; 10], [2u8; 7]);
        let image = |datum| {
            Some(Image {
                present: None,
                datum,
            })
        };
        for limit in 1..20 {
            for (before, after) in [
                (image(&b[..]), image(&a[..])),
                (None, image(&a[..])),
                (image(&b[..]), None),
                (image(&b[..0]), image(&a[..0])),
            ] {
                let change = Change {
                    table: 3,
                    operation: Operation::Update,
                    before,
                    after,
                    more: false,
                };
                let (parts, x, y) = join(change, limit);
                assert_eq!(
                    (x.as_deref(), y.as_deref()),
                    (before.map(|i| i.datum), after.map(|i| i.datum))
                );
                assert!(parts <= 18);
            }
        }
    }
}
