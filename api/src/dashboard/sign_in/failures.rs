//! Limits sign-ins with wrong tokens, for each address and for all addresses together.
//!
//! The limits bound the work and the audit rows that a client can cause, and slow down a script that
//! guesses. They do not have to protect tokens, which have 256 random bits. So a valid token is always
//! accepted: otherwise, anyone behind the same proxy could lock out its user.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// An address can fail this often at once, and then once in this time.
const OF_ADDRESS: Rate = Rate {
    burst: 10,
    interval: Duration::from_secs(6),
};
/// All addresses together.
const OVERALL: Rate = Rate {
    burst: 100,
    interval: Duration::from_millis(200),
};
/// Addresses without a recent failure are forgotten at this number. The overall limit keeps the number
/// of others below 400.
const ADDRESSES_MAX: usize = 1024;
/// The part of an IPv6 address that identifies a customer of a provider.
const NETWORK_BITS: u32 = 64;

/// How many events are allowed.
struct Rate {
    burst: u32,
    interval: Duration,
}

/// The time until which the events of a rate are used up: one interval for each event.
type UsedUntil = Duration;

impl Rate {
    /// The new value after one more event.
    ///
    /// # Errors
    /// There were too many. The error is the time after which the next one is allowed.
    fn after_event(&self, used: UsedUntil, now: Duration) -> Result<UsedUntil, Duration> {
        let next = used.max(now) + self.interval;
        match next.saturating_sub(now + self.interval * self.burst) {
            Duration::ZERO => Ok(next),
            wait => Err(wait),
        }
    }
}

/// The recent sign-ins with wrong tokens. Times are those of the monotonic clock.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct SignInFailures(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    overall: UsedUntil,
    addresses: HashMap<Option<IpAddr>, UsedUntil>,
}

impl SignInFailures {
    /// Counts a failure from an address.
    ///
    /// # Errors
    /// There were too many. The error is the time after which the client can try again.
    pub(super) fn count(&self, address: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = address.map(client);
        let used = counts.addresses.get(&client).copied().unwrap_or_default();
        // A rejection counts nowhere, so that one address cannot use up the overall limit.
        let used = OF_ADDRESS.after_event(used, now)?;
        counts.overall = OVERALL.after_event(counts.overall, now)?;
        if counts.addresses.len() >= ADDRESSES_MAX {
            counts.addresses.retain(|_, used| *used > now);
        }
        counts.addresses.insert(client, used);
        Ok(())
    }
}

/// What the addresses of one client have in common: a customer has a whole network of IPv6 addresses.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> NETWORK_BITS << NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(number.into()))
    }

    fn allowed(failures: &SignInFailures, address: Option<IpAddr>, now: Duration) -> usize {
        (0..1000)
            .filter(|_| failures.count(address, now).is_ok())
            .count()
    }

    #[test]
    fn an_address_can_fail_ten_times_at_once_and_then_every_six_seconds() {
        let failures = SignInFailures::default();
        let start = 1000 * SECOND;
        assert_eq!(allowed(&failures, address(1), start), 10);
        assert_eq!(failures.count(address(1), start), Err(6 * SECOND));
        assert_eq!(failures.count(address(1), start + 5 * SECOND), Err(SECOND));
        assert_eq!(allowed(&failures, address(1), start + 6 * SECOND), 1);
        assert_eq!(allowed(&failures, address(2), start), 10, "another address");
        assert_eq!(allowed(&failures, None, start), 10, "no address");
        assert_eq!(allowed(&failures, address(1), start + 1000 * SECOND), 10);
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one_client() {
        let failures = SignInFailures::default();
        let of = |text: &str| Some(text.parse().unwrap());
        assert_eq!(allowed(&failures, of("2001:db8::1"), SECOND), 10);
        assert_eq!(allowed(&failures, of("2001:db8::ffff:1"), SECOND), 0);
        assert_eq!(allowed(&failures, of("2001:db8:0:1::1"), SECOND), 10);
        assert_eq!(allowed(&failures, of("10.0.0.1"), SECOND), 10);
        assert_eq!(allowed(&failures, of("::ffff:10.0.0.1"), SECOND), 0);
    }

    #[test]
    fn all_addresses_together_have_a_limit_and_use_little_memory() {
        let failures = SignInFailures::default();
        let mut count = 0;
        for second in 0..100 {
            for number in 0..10_000 {
                let address = address(second * 10_000 + number);
                count += u32::from(failures.count(address, second * SECOND).is_ok());
            }
            let counts = failures.0.lock().unwrap();
            assert!(counts.addresses.len() <= ADDRESSES_MAX, "{second}");
        }
        assert_eq!(count, 100 + 99 * 5);
    }
}
