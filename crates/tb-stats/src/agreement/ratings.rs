//! A table of ratings: units by raters, with holes. What is computed from it is not here.

use crate::StatsError;

/// One rater's value for one unit. Units and raters are numbers of the caller's, such as rows of its own lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// What was rated.
    pub unit: usize,
    /// Who rated it.
    pub rater: usize,
    /// The rating; finite.
    pub value: f64,
}

/// Ratings of units by raters; a rater may leave out any unit.
///
/// Holds one entry per rating given, sorted by unit and rater, whatever order they came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Ratings {
    /// The units' numbers, ascending.
    units: Vec<usize>,
    /// The raters' numbers, ascending.
    raters: Vec<usize>,
    /// The different values, ascending.
    values: Vec<f64>,
    /// Where the cells of each unit begin, and last where they end.
    starts: Vec<usize>,
    cells: Vec<Cell>,
}

/// A rating within [`Ratings`]: positions in its lists of raters and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub rater: u32,
    pub value: u32,
}

impl Ratings {
    /// The table of ratings with numbers, for any [`Level`](super::Level). No ratings make an empty table.
    ///
    /// Errors on a value that is not finite (its position in the list) and on two ratings of one unit by one rater.
    pub fn new(ratings: impl IntoIterator<Item = Rating>) -> Result<Self, StatsError> {
        let mut ratings: Vec<Rating> = ratings.into_iter().collect();
        if let Some(index) = ratings.iter().position(|rating| !rating.value.is_finite()) {
            return Err(StatsError::NotFinite { index });
        }
        for rating in &mut ratings {
            // -0 is 0: both must be one value.
            rating.value += 0.0;
        }
        ratings.sort_by_key(|rating| (rating.unit, rating.rater));
        if let Some(pair) =
            ratings.windows(2).find(|pair| (pair[0].unit, pair[0].rater) == (pair[1].unit, pair[1].rater))
        {
            return Err(StatsError::DuplicateRating { unit: pair[0].unit, rater: pair[0].rater });
        }
        Ok(Self::from_sorted(&ratings))
    }

    /// The table of ratings with names, each as (unit, rater, category), a category being a position in the caller's
    /// list. For [`Level::Nominal`](super::Level::Nominal), or for any level if the list has an order.
    /// Errors as [`new`](Self::new).
    pub fn of_categories(ratings: impl IntoIterator<Item = (usize, usize, u32)>) -> Result<Self, StatsError> {
        let value = |(unit, rater, category)| Rating { unit, rater, value: f64::from(category) };
        Self::new(ratings.into_iter().map(value))
    }

    /// The table of ratings that are finite, sorted by unit and rater, and without duplicates.
    fn from_sorted(ratings: &[Rating]) -> Self {
        let mut raters: Vec<usize> = ratings.iter().map(|rating| rating.rater).collect();
        raters.sort_unstable();
        raters.dedup();
        let mut values: Vec<f64> = ratings.iter().map(|rating| rating.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.dedup();
        let (mut units, mut starts) = (Vec::new(), Vec::new());
        let mut cells = Vec::with_capacity(ratings.len());
        for rating in ratings {
            if units.last() != Some(&rating.unit) {
                units.push(rating.unit);
                starts.push(cells.len());
            }
            cells.push(Cell {
                rater: raters.partition_point(|rater| *rater < rating.rater) as u32,
                value: values.partition_point(|value| *value < rating.value) as u32,
            });
        }
        starts.push(cells.len());
        Self { units, raters, values, starts, cells }
    }

    /// The numbers of the rated units, ascending.
    pub fn units(&self) -> &[usize] {
        &self.units
    }

    /// The numbers of the raters, ascending.
    pub fn raters(&self) -> &[usize] {
        &self.raters
    }

    /// The different values that were given, ascending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many ratings there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no rating.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The ratings, by unit and within a unit by rater.
    pub fn iter(&self) -> impl Iterator<Item = Rating> {
        self.units.iter().zip(self.by_unit()).flat_map(|(unit, cells)| {
            cells.iter().map(|cell| Rating {
                unit: *unit,
                rater: self.raters[cell.rater as usize],
                value: self.values[cell.value as usize],
            })
        })
    }

    /// How many units have at least two ratings: those that say anything about agreement.
    pub fn pairable_units(&self) -> usize {
        self.by_unit().filter(|cells| cells.len() >= 2).count()
    }

    /// The number of ratings, at least two, that most units have; the larger of equals. `None` without such a unit.
    pub fn usual_count(&self) -> Option<usize> {
        let mut counts: Vec<usize> = self.by_unit().map(<[Cell]>::len).filter(|count| *count >= 2).collect();
        counts.sort_unstable();
        counts.chunk_by(|a, b| a == b).max_by_key(|same| (same.len(), same[0])).map(|same| same[0])
    }

    /// Only the units with exactly `count` ratings, as Fleiss' kappa needs them. How many were left out is the
    /// difference in [`units`](Self::units); other measures here take all units.
    #[must_use]
    pub fn units_with(&self, count: usize) -> Self {
        let mut kept: Vec<Rating> = self.iter().collect();
        let mut lengths = self.by_unit().flat_map(|cells| std::iter::repeat_n(cells.len(), cells.len()));
        kept.retain(|_| lengths.next() == Some(count));
        Self::from_sorted(&kept)
    }

    /// The cells of each unit, in the order of [`units`](Self::units).
    pub(crate) fn by_unit(&self) -> impl Iterator<Item = &[Cell]> {
        self.starts.windows(2).map(|ends| &self.cells[ends[0]..ends[1]])
    }

    /// The position of a rater among [`raters`](Self::raters).
    pub(crate) fn rater_position(&self, rater: usize) -> Option<u32> {
        self.raters.binary_search(&rater).ok().map(|position| position as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::{Rating, Ratings};
    use crate::StatsError;

    #[test]
    fn order_of_entry_does_not_matter_and_numbers_may_be_any() {
        let ratings = [(9, 70, 2), (4, 8, 0), (9, 8, 2), (4, usize::MAX, 5)];
        let table = Ratings::of_categories(ratings).unwrap();
        assert_eq!((table.units(), table.raters()), (&[4, 9][..], &[8, 70, usize::MAX][..]));
        assert_eq!(table.values(), [0.0, 2.0, 5.0]);
        assert_eq!((table.len(), table.pairable_units(), table.is_empty()), (4, 2, false));
        let back: Vec<Rating> = table.iter().collect();
        assert_eq!(back[1], Rating { unit: 4, rater: usize::MAX, value: 5.0 });
        assert_eq!(Ratings::new(back.into_iter().rev()).unwrap(), table);
    }

    #[test]
    fn bad_ratings_are_refused_by_name() {
        let twice = Ratings::of_categories([(1, 2, 0), (1, 3, 0), (1, 2, 1)]);
        assert_eq!(twice, Err(StatsError::DuplicateRating { unit: 1, rater: 2 }));
        let nan = [1.0, f64::NAN].map(|value| Rating { unit: value.is_nan().into(), rater: 0, value });
        assert_eq!(Ratings::new(nan), Err(StatsError::NotFinite { index: 1 }));
    }

    #[test]
    fn minus_zero_is_zero() {
        let zeros = [0.0, -0.0].into_iter().enumerate().map(|(rater, value)| Rating { unit: 0, rater, value });
        assert_eq!(Ratings::new(zeros).unwrap().values(), [0.0]);
    }

    #[test]
    fn units_of_one_count_can_be_kept() {
        let table = Ratings::of_categories([(0, 0, 1), (0, 1, 1), (1, 0, 2), (2, 1, 3), (2, 0, 1), (3, 2, 9)]).unwrap();
        assert_eq!(table.usual_count(), Some(2));
        let kept = table.units_with(2);
        assert_eq!((kept.units(), kept.raters(), kept.values()), (&[0, 2][..], &[0, 1][..], &[1.0, 3.0][..]));
        assert!(table.units_with(5).is_empty());
        let empty = Ratings::new([]).unwrap();
        assert_eq!((empty.usual_count(), empty.pairable_units(), empty.len()), (None, 0, 0));
    }
}
