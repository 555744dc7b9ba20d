//! RSA keys that can be factored because of how they were made: CVE-2017-15361 ("ROCA").
//!
//! Infineon's library chose primes as `k·M + 65537^a mod M`, with M the product of the first primes. So the modulus,
//! too, is a power of 65537 modulo each of them; of other keys one in some 2^27 is (Nemec et al., "The Return of
//! Coppersmith's Attack", section 2.2).

/// The odd primes that the smallest M has.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether a modulus, most significant octet first, has the mark of such keys.
pub(in crate::token) fn is_marked(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let residue = modulus.iter().fold(0, |residue, octet| (residue * 256 + u32::from(*octet)) % prime);
        let powers = std::iter::successors(Some(1), |power| Some(power * 65537 % prime));
        powers.take(*prime as usize).any(|power| power == residue)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_65537_are_marked_and_others_not() {
        // Below M, a power is its own residue: 65537^3, and its neighbours.
        let power: u128 = 65537_u128.pow(3);
        assert!(is_marked(&power.to_be_bytes()));
        for other in [power - 1, power + 1, power + 2, 0, 2] {
            assert!(!is_marked(&other.to_be_bytes()), "{other}");
        }
    }
}
