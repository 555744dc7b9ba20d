//! When certificates end.

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::der::{Der, SEQUENCE};

/// The first end of a certificate in a PEM text, in Unix seconds. None: there is none in it that can be read.
pub(crate) fn first_end(pem: &[u8]) -> Option<i64> {
    CertificateDer::pem_slice_iter(pem).filter_map(|certificate| not_after(&certificate.ok()?)).min()
}

/// The end of a certificate's validity (RFC 5280, section 4.1.2.5) in Unix seconds.
pub(crate) fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut fields = Der::in_certificate(certificate)?;
    let _algorithm_and_issuer = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
    let mut validity = Der(fields.take(SEQUENCE)?);
    validity.take_any()?;
    match validity.take_any()? {
        (UTC_TIME, text) => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            moment(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (GENERALIZED_TIME, text) => {
            let (year, rest) = text.split_at_checked(4)?;
            moment(number(year)?, rest)
        }
        _ => None,
    }
}

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `MMDDhhmmssZ` of a year.
fn moment(year: i64, rest: &[u8]) -> Option<i64> {
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut parts = digits.chunks(2).map(number);
    let mut next = || parts.next().flatten();
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    // Days since 1970-01-01, the year beginning in March (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn until(year: i32) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["gateway".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn the_first_of_a_chain_counts() {
        // UTCTime up to 2049, GeneralizedTime from 2050 on (RFC 5280, section 4.1.2.5).
        for (year, end) in [(2030, 1_898_553_600), (2049, 2_498_169_600), (2051, 2_561_241_600)] {
            assert_eq!(first_end(until(year).as_bytes()), Some(end), "{year}");
        }
        assert_eq!(first_end(format!("{}{}", until(2049), until(2030)).as_bytes()), Some(1_898_553_600));
        for nothing in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(first_end(nothing.as_bytes()), None);
        }
    }
}
