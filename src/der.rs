//! Elements of DER (X.690), taken one by one: what certificates and keys are written in.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// SEQUENCE, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// A certificate's version; absent in version 1.
const VERSION: u8 = 0xa0;

/// What is left of an encoding.
pub(crate) struct Der<'d>(pub(crate) &'d [u8]);

impl<'d> Der<'d> {
    /// The content of the next element, if it has this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        (self.0.first() == Some(&tag)).then(|| self.take_any()).flatten().map(|(_, content)| content)
    }

    /// The tag and content of the next element.
    pub(crate) fn take_any(&mut self) -> Option<(u8, &'d [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The fields of a certificate from its signature algorithm on (RFC 5280, section 4.1): algorithm, issuer, validity,
    /// subject, public key.
    pub(crate) fn in_certificate(der: &'d [u8]) -> Option<Der<'d>> {
        let mut fields = Der(Der(Der(der).take(SEQUENCE)?).take(SEQUENCE)?);
        if fields.0.first() == Some(&VERSION) {
            fields.take(VERSION)?;
        }
        fields.take(INTEGER)?;
        Some(fields)
    }
}
