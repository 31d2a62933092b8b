//! Counts and shares of pods, rounded as Kruise rounds.
use model::sidecarset::IntOrPercent;

/// A count or a share of `total`, rounded up, within 0..=total... of what a partition holds back: a share other
/// than 100% never holds all pods back while there are several.
pub fn held_by_partition(partition: &IntOrPercent, total: u32) -> u32 {
    let held = share_of(partition, total).min(total);
    let is_share = partition.percent().is_some_and(|p| p != 100);
    if is_share && total > 1 && held == total {
        total - 1
    } else {
        held
    }
}

/// A count or a share of `total`, rounded up. What cannot be read is 0: nothing moves on a misunderstanding.
pub fn share_of(value: &IntOrPercent, total: u32) -> u32 {
    let share = value.of_rounded_up(i64::from(total)).unwrap_or(0);
    u32::try_from(share.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_hold_back_as_recorded() {
        let updated = |total: u32, text: &str| {
            let partition = text
                .parse()
                .map_or(IntOrPercent::Text(text.to_owned()), IntOrPercent::Int);
            total - held_by_partition(&partition, total)
        };
        assert_eq!(updated(3, "1%"), 2);
        assert_eq!(updated(3, "99%"), 1);
        assert_eq!(updated(3, "100%"), 0);
        assert_eq!(updated(1, "50%"), 0);
        assert_eq!(updated(10, "33%"), 6);
        assert_eq!(updated(1000, "980"), 20);
        assert_eq!(updated(5, "9"), 0);
        assert_eq!(updated(0, "50%"), 0);
    }
}
