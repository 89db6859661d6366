//! Which known name a misspelt one may have meant.

/// The candidate nearest to `name`, ignoring case, if at most a third of its letters (and at most 3) differ.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let lower: Vec<char> = name.to_lowercase().chars().take(MAX_NAME).collect();
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Longer names are not compared beyond this.
const MAX_NAME: usize = 128;

/// Letters to insert, remove, replace or swap with the next.
fn distance(a: &[char], candidate: &str) -> usize {
    let b: Vec<char> = candidate.to_lowercase().chars().take(MAX_NAME).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_missing_and_wrong_letters_are_seen_through() {
        let known = ["TumblingWindow", "HoppingWindow", "temperature"];
        assert_eq!(nearest("temprature", known), Some("temperature"));
        assert_eq!(nearest("TUMBLINGWINODW", known), Some("TumblingWindow"));
        assert_eq!(nearest("humidity", known), None);
    }
}
