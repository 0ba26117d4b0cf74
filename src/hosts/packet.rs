//! IP packets, as far as the switch has to know them: where to, and which bytes may be changed.

use std::net::Ipv4Addr;
use std::ops::Range;

use rand::{Rng, RngExt as _};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// What becomes of the checksum over a packet's bytes when one of them is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It no longer holds: the receiving system drops the packet, and its program sees a loss.
    Wrong,
    /// It is put right: the receiving program reads the changed byte. Only bytes that a program sent are changed, so a packet
    /// without any is left alone.
    Right,
}

/// The address that an IPv4 packet is for; `None` for any other packet.
pub(super) fn destination(packet: &[u8]) -> Option<Ipv4Addr> {
    let version = packet.first()? >> 4;
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    (version == 4).then(|| octets.into())
}

/// Flips one bit of what the packet carries; whether there was one to flip.
pub(super) fn corrupt(packet: &mut [u8], checksum: Checksum, rng: &mut impl Rng) -> bool {
    let Some(parts) = Parts::of(packet) else {
        return false;
    };
    let bytes = match checksum {
        Checksum::Wrong => parts.carried.clone(),
        Checksum::Right => parts.payload.clone(),
    };
    if bytes.is_empty() {
        return false;
    }
    let at = rng.random_range(bytes);
    let bit = 1 << rng.random_range(0..8_u8);
    // The checksum is of words of 16 bits.
    let word = parts.carried.start + (at - parts.carried.start) / 2 * 2;
    let before = read(packet, word);
    if let Some(byte) = packet.get_mut(at) {
        *byte ^= bit;
    }
    if let (Checksum::Right, Some(sum)) = (checksum, parts.checksum) {
        let fixed = updated(read(packet, sum), before, read(packet, word));
        // 0 says that there is none in UDP, and is the same number there.
        let fixed = if fixed == 0 && parts.is_udp { 0xffff } else { fixed };
        for (to, from) in packet[sum..].iter_mut().zip(fixed.to_be_bytes()) {
            *to = from;
        }
    }
    true
}

/// Where in a packet things are.
struct Parts {
    /// All behind the header of IP.
    carried: Range<usize>,
    /// What a program sent.
    payload: Range<usize>,
    /// The checksum of TCP or UDP; `None` where the sender made none.
    checksum: Option<usize>,
    is_udp: bool,
}

impl Parts {
    /// Of a whole packet of TCP or UDP; of others nobody knows a payload.
    fn of(packet: &[u8]) -> Option<Self> {
        destination(packet)?;
        let start = usize::from(packet[0] & 0xf) * 4;
        let end = packet.len().min(usize::from(read(packet, 2)));
        // More fragments, or not the first one.
        let is_fragment = read(packet, 6) & 0x3fff != 0;
        let is_udp = packet[9] == UDP;
        let (header, checksum) = match packet[9] {
            _ if is_fragment => (None, None),
            TCP => (
                packet.get(start + 12).map(|byte| usize::from(byte >> 4) * 4),
                Some(16),
            ),
            UDP => (Some(8), Some(6).filter(|at| read(packet, start + at) != 0)),
            _ => (None, None),
        };
        let payload = header.map_or(end, |header| start + header).min(end);
        (start < end).then_some(Self {
            carried: start..end,
            payload: payload..end,
            checksum: checksum.map(|at| start + at),
            is_udp,
        })
    }
}

/// Two bytes of it, as if it were followed by zeros.
fn read(packet: &[u8], at: usize) -> u16 {
    let byte = |at| packet.get(at).copied().unwrap_or_default();
    u16::from_be_bytes([byte(at), byte(at + 1)])
}

/// The checksum after a word was changed: RFC 1624, equation 3.
fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
pub(super) mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A packet of UDP with this payload, with its checksum (over the pseudo header too).
    pub(in crate::hosts) fn udp(to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
        let carried = u16::try_from(8 + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend((carried + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
        packet.extend([10, 0, 0, 1]);
        packet.extend(to.octets());
        packet.extend([0, 1, 0, 2]);
        packet.extend(carried.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let sum = sum(&packet);
        packet[26..28].copy_from_slice(&(!sum).to_be_bytes());
        packet
    }

    /// The sum over pseudo header and all that is carried: 0xffff where the checksum in it is right.
    fn sum(packet: &[u8]) -> u16 {
        let pseudo = [&[0, UDP], &packet[24..26]].concat();
        let all = [&packet[12..20], &pseudo, &packet[20..]].concat();
        let mut sum: u32 = all
            .chunks(2)
            .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn a_checksum_is_wrong_or_right_as_was_asked() {
        let to = Ipv4Addr::new(10, 0, 0, 2);
        for payload in [&b"an even number"[..], b"an odd number"] {
            let good = udp(to, payload);
            assert_eq!((destination(&good), sum(&good)), (Some(to), 0xffff));
            for seed in 0..1000 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut packet = good.clone();
                assert!(corrupt(&mut packet, Checksum::Right, &mut rng));
                assert_eq!(sum(&packet), 0xffff, "{packet:?}");
                assert_eq!(packet[..26], good[..26]);
                let changed: u32 = packet[28..]
                    .iter()
                    .zip(&good[28..])
                    .map(|(one, other)| (one ^ other).count_ones())
                    .sum();
                assert_eq!(changed, 1);
                let mut packet = good.clone();
                assert!(corrupt(&mut packet, Checksum::Wrong, &mut rng));
                assert_ne!(sum(&packet), 0xffff, "{packet:?}");
                assert_eq!(packet[..20], good[..20]);
            }
        }
    }

    #[test]
    fn what_carries_nothing_is_left_alone() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let good = udp(Ipv4Addr::new(10, 0, 0, 2), b"");
        let mut packet = good.clone();
        assert!(!corrupt(&mut packet, Checksum::Right, &mut rng));
        assert_eq!(packet, good);
        for garbage in [&[][..], &[0x45; 19], &[0x60; 60], &[0x4f; 20]] {
            let mut packet = garbage.to_vec();
            corrupt(&mut packet, Checksum::Right, &mut rng);
            corrupt(&mut packet, Checksum::Wrong, &mut rng);
        }
        assert_eq!(destination(&[0x60; 60]), None);
    }
}
