//! What becomes of figures of several rounds: a median, with the lowest and the highest.

use std::fmt;

/// Figures of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Nothing when there are no figures.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (&low, &high) = (figures.first()?, figures.last()?);
        // Of an even number it is the mean of the two in the middle.
        let median = mean(&figures[(figures.len() - 1) / 2..=figures.len() / 2])?;
        Some(Self { median, low, high })
    }
}

/// Nothing when there are no figures.
pub fn mean(figures: &[f64]) -> Option<f64> {
    (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64)
}

/// The smallest figure that at least this share of them does not exceed.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is an index, and there are that many"
)]
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A number with three digits that mean something, thousands kept whole and set apart.
pub fn short(figure: f64) -> String {
    let digits = [1000.0, 100.0, 10.0]
        .iter()
        .filter(|size| figure.abs() < **size)
        .count();
    let mut short = format!("{figure:.0$}", digits.saturating_sub(1));
    if figure.abs() >= 1000.0 {
        short.insert(short.len() - 3, ',');
    }
    short
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, low, high] = [self.median, self.low, self.high].map(short);
        if low == high {
            f.write_str(&median)
        } else {
            write!(f, "{median} ({low}–{high})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle_whatever_the_order() {
        let odd = Spread::of(vec![9.0, 1.0, 4.0]);
        assert_eq!(
            odd,
            Some(Spread {
                median: 4.0,
                low: 1.0,
                high: 9.0
            })
        );
        let even = Spread::of(vec![9.0, 1.0, 4.0, 2.0]);
        assert_eq!(
            even,
            Some(Spread {
                median: 3.0,
                low: 1.0,
                high: 9.0
            })
        );
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.5), Some(50.0));
        assert_eq!(quantile(&hundred, 0.99), Some(99.0));
        assert_eq!(quantile(&hundred, 1.0), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.5), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn numbers_are_short() {
        let shorts = [12403.4, 999.6, 70.04, 1.027, 0.0].map(short);
        assert_eq!(shorts, ["12,403", "1000", "70.0", "1.03", "0.00"]);
    }
}
