//! Unified diffs in the style of Python's difflib, which Kubernetes' messages use.

use std::collections::HashMap;

const CONTEXT: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    Replace,
    Delete,
    Insert,
}

type Block = (Op, usize, usize, usize, usize);

/// The hunks that turn `old` into `new`, without file headers.
pub(super) fn unified(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    let mut out = String::new();
    for group in groups(blocks(&a, &b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            continue;
        };
        out.push_str(&format!(
            "@@ -{} +{} @@\n",
            range(first.1, last.2),
            range(first.3, last.4)
        ));
        for (op, i1, i2, j1, j2) in group {
            let mut put = |sign: char, lines: &[&str]| {
                for line in lines {
                    out.push(sign);
                    out.push_str(line);
                    out.push('\n');
                }
            };
            match op {
                Op::Equal => put(' ', &a[i1..i2]),
                Op::Replace => {
                    put('-', &a[i1..i2]);
                    put('+', &b[j1..j2]);
                }
                Op::Delete => put('-', &a[i1..i2]),
                Op::Insert => put('+', &b[j1..j2]),
            }
        }
    }
    out
}

fn range(start: usize, stop: usize) -> String {
    match stop - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

/// Lines of `b` and where they are; very frequent lines do not anchor a match.
fn index<'a>(b: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut out: HashMap<&str, Vec<usize>> = HashMap::new();
    for (j, line) in b.iter().enumerate() {
        out.entry(line).or_default().push(j);
    }
    if b.len() >= 200 {
        let most = b.len() / 100 + 1;
        out.retain(|_, at| at.len() <= most);
    }
    out
}

fn longest(
    a: &[&str],
    b: &[&str],
    at: &HashMap<&str, Vec<usize>>,
    (alo, ahi, blo, bhi): (usize, usize, usize, usize),
) -> (usize, usize, usize) {
    let (mut besti, mut bestj, mut size) = (alo, blo, 0);
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for (i, line) in a.iter().enumerate().take(ahi).skip(alo) {
        let mut next = HashMap::new();
        for &j in at.get(line).map(Vec::as_slice).unwrap_or_default() {
            if j < blo {
                continue;
            }
            if j >= bhi {
                break;
            }
            let k = j
                .checked_sub(1)
                .and_then(|p| lengths.get(&p))
                .copied()
                .unwrap_or(0)
                + 1;
            next.insert(j, k);
            if k > size {
                (besti, bestj, size) = (i + 1 - k, j + 1 - k, k);
            }
        }
        lengths = next;
    }
    while besti > alo && bestj > blo && a[besti - 1] == b[bestj - 1] {
        (besti, bestj, size) = (besti - 1, bestj - 1, size + 1);
    }
    while besti + size < ahi && bestj + size < bhi && a[besti + size] == b[bestj + size] {
        size += 1;
    }
    (besti, bestj, size)
}

fn matches(a: &[&str], b: &[&str]) -> Vec<(usize, usize, usize)> {
    let at = index(b);
    let (mut out, mut queue) = (Vec::new(), vec![(0, a.len(), 0, b.len())]);
    while let Some((alo, ahi, blo, bhi)) = queue.pop() {
        let (i, j, k) = longest(a, b, &at, (alo, ahi, blo, bhi));
        if k == 0 {
            continue;
        }
        out.push((i, j, k));
        if alo < i && blo < j {
            queue.push((alo, i, blo, j));
        }
        if i + k < ahi && j + k < bhi {
            queue.push((i + k, ahi, j + k, bhi));
        }
    }
    out.sort_unstable();
    let mut joined: Vec<(usize, usize, usize)> = Vec::new();
    for (i, j, k) in out {
        match joined.last_mut() {
            Some(last) if last.0 + last.2 == i && last.1 + last.2 == j => last.2 += k,
            _ => joined.push((i, j, k)),
        }
    }
    joined.push((a.len(), b.len(), 0));
    joined
}

fn blocks(a: &[&str], b: &[&str]) -> Vec<Block> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    for (ai, bj, size) in matches(a, b) {
        match (i < ai, j < bj) {
            (true, true) => out.push((Op::Replace, i, ai, j, bj)),
            (true, false) => out.push((Op::Delete, i, ai, j, bj)),
            (false, true) => out.push((Op::Insert, i, ai, j, bj)),
            (false, false) => {}
        }
        (i, j) = (ai + size, bj + size);
        if size > 0 {
            out.push((Op::Equal, ai, i, bj, j));
        }
    }
    out
}

/// Cuts long equal stretches, leaving three lines of context around changes.
fn groups(mut codes: Vec<Block>) -> Vec<Vec<Block>> {
    if let Some(first) = codes.first_mut().filter(|c| c.0 == Op::Equal) {
        first.1 = first.1.max(first.2.saturating_sub(CONTEXT));
        first.3 = first.3.max(first.4.saturating_sub(CONTEXT));
    }
    if let Some(last) = codes.last_mut().filter(|c| c.0 == Op::Equal) {
        last.2 = last.2.min(last.1 + CONTEXT);
        last.4 = last.4.min(last.3 + CONTEXT);
    }
    let (mut out, mut group) = (Vec::new(), Vec::new());
    for (op, mut i1, i2, mut j1, j2) in codes {
        if op == Op::Equal && i2 - i1 > 2 * CONTEXT {
            group.push((op, i1, i2.min(i1 + CONTEXT), j1, j2.min(j1 + CONTEXT)));
            out.push(std::mem::take(&mut group));
            (i1, j1) = (
                i1.max(i2.saturating_sub(CONTEXT)),
                j1.max(j2.saturating_sub(CONTEXT)),
            );
        }
        group.push((op, i1, i2, j1, j2));
    }
    let only_equal = group.iter().all(|b| b.0 == Op::Equal);
    if !only_equal {
        out.push(group);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn far_changes_make_two_hunks_with_three_lines_around() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk";
        let new = "a\nB\nc\nd\ne\nf\ng\nh\ni\nJ\nk";
        let want = "@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -7,5 +7,5 @@\n g\n h\n i\n-j\n+J\n k\n";
        assert_eq!(unified(old, new), want);
    }
}
