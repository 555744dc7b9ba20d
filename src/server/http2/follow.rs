//! Where frames begin and end (RFC 9113, section 4.1).

pub(super) const FRAME_HEAD: usize = 9;

/// Follows a sequence of frames byte by byte.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; FRAME_HEAD],
    head_seen: usize,
    payload_left: u32,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHead {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frames {
    /// The next head that is complete with these bytes, which are taken up to its end. None: all of them are taken.
    pub(super) fn next_head(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        while !bytes.is_empty() {
            let payload = bytes.len().min(self.payload_left as usize);
            self.payload_left -= payload as u32;
            *bytes = bytes.get(payload..).unwrap_or_default();
            let (head, rest) = bytes.split_at(bytes.len().min(FRAME_HEAD - self.head_seen));
            if let Some(place) = self.head.get_mut(self.head_seen..self.head_seen + head.len()) {
                place.copy_from_slice(head);
            }
            self.head_seen += head.len();
            *bytes = rest;
            if self.head_seen == FRAME_HEAD {
                self.head_seen = 0;
                let [high, middle, low, kind, flags, stream @ ..] = self.head;
                self.payload_left = u32::from_be_bytes([0, high, middle, low]);
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                return Some(FrameHead { length: self.payload_left, kind, flags, stream });
            }
        }
        None
    }

    /// In the middle of a frame's head.
    pub(super) fn is_in_head(&self) -> bool {
        self.head_seen > 0
    }

    /// Before a frame.
    pub(super) fn is_between(&self) -> bool {
        self.head_seen == 0 && self.payload_left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_whatever_pieces_they_come_in() {
        let mut bytes = Vec::new();
        for (length, kind, stream) in [(0_u8, 4_u8, 0_u8), (5, 0, 1), (200, 1, 3), (0, 0, 1)] {
            bytes.extend([0, 0, length, kind, 1, 0x80, 0, 0, stream]);
            bytes.extend(vec![0xff; length.into()]);
        }
        for size in 1..bytes.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(head) = frames.next_head(&mut piece) {
                    found.push((head.length, head.kind, head.stream));
                }
            }
            assert_eq!(found, [(0, 4, 0), (5, 0, 1), (200, 1, 3), (0, 0, 1)], "{size}");
            assert!(frames.is_between() && !frames.is_in_head());
            frames.next_head(&mut &[0][..]);
            assert!(!frames.is_between() && frames.is_in_head());
        }
    }
}
