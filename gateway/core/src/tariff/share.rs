//! Dividing money so that nothing is lost.

use crate::units::Fen;

/// Splits an amount that contains tax into (net, tax). The net is rounded to the nearest fen, halves up; the tax is
/// the rest, so the two always sum to the amount. Negative amounts split like their opposite.
pub fn split_tax(gross: Fen, percent: u8) -> (Fen, Fen) {
    let whole = 100 + i128::from(percent);
    let net = (i128::from(gross.0.unsigned_abs()) * 200 + whole) / (2 * whole);
    // The net is not larger than the amount it was taken from.
    let net = net as i64 * gross.0.signum();
    (Fen(net), Fen(gross.0 - net))
}

/// Divides a total by weights, such as floor areas. Each share is rounded down, and what is left goes, a fen each, to
/// the largest remainders (the earlier one of equals). The shares sum to the total. `None` if all weights are zero.
pub fn apportion(total: Fen, weights: &[u64]) -> Option<Vec<Fen>> {
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    if sum == 0 {
        return None;
    }
    let amount = u128::from(total.0.unsigned_abs());
    let mut shares: Vec<u64> = Vec::with_capacity(weights.len());
    let mut remainders: Vec<(u128, usize)> = Vec::with_capacity(weights.len());
    for (index, weight) in weights.iter().enumerate() {
        // Both factors are below 2^64, so the product fits; a share is not larger than the total.
        let product = amount * u128::from(*weight);
        shares.push((product / sum) as u64);
        remainders.push((product % sum, index));
    }
    let left = amount - shares.iter().map(|s| u128::from(*s)).sum::<u128>();
    remainders.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    for (_, index) in remainders.into_iter().take(left as usize) {
        shares[index] += 1;
    }
    let sign = total.0.signum();
    Some(shares.into_iter().map(|share| Fen(sign * i64::try_from(share).unwrap_or(i64::MAX))).collect())
}
