//! The sums of feedback say what a count over the rows says, whatever was stored and taken back.

use tb_core::{
    feedback::{Choice, Preferred, ShownOrder, Thumbs},
    ids::{ModelId, UserId},
    random::{Purpose, Stream},
    user::Role,
};

use super::*;
use crate::{
    feedback::{
        self as feedback_rows,
        sums::{By, Counts, DAY_MS, Group, Step, Sums, SumsFilter, are_missing, groups, make},
    },
    users,
};

/// Three hundred rows by three reviewers (and outsiders) about two models (and none), over
/// two hundred days.
fn rows() -> Vec<Feedback> {
    let mut random = Stream::new(11, 0, Purpose::Bootstrap, 0);
    (1..=300_u32)
        .map(|n| {
            let mut row = feedback(n, (random.below(4) > 0).then(|| 1 + random.below(5) as u8));
            row.created_at_ms = random.below(200) as i64 * DAY_MS + i64::from(n);
            row.user_id =
                [None, Some(1), Some(2), Some(3)][random.below(4) as usize].map(|u| UserId::from_uuid(uuid(u)));
            row.judgement.model_id =
                [None, Some(1), Some(2)][random.below(3) as usize].map(|m| ModelId::from_uuid(uuid(m)));
            row.judgement.transformation_type = ["polite", "short", ""][random.below(3) as usize].into();
            row.judgement.thumbs = Thumbs::ALL.get(random.below(4) as usize).copied();
            row.judgement.choice = Preferred::ALL.get(random.below(6) as usize).map(|preferred| Choice {
                preferred: *preferred,
                other_text: "b".into(),
                other_model_id: (random.below(2) == 0).then(|| ModelId::from_uuid(uuid(2))),
                shown: ShownOrder::AFirst,
            });
            row.judgement.duration_ms = (random.below(2) == 0).then(|| random.below(60_000) as i64);
            row
        })
        .collect()
}

/// The same by looking at every row.
fn recount(
    rows: &[Feedback],
    filter: &SumsFilter,
    key: impl Fn(&Feedback) -> String,
) -> Vec<(String, i64, [i64; 5], i64)> {
    let mut found = std::collections::BTreeMap::<String, (i64, [i64; 5], i64)>::new();
    for row in rows.iter().filter(|row| row.withdrawn_at_ms.is_none()) {
        let said = &row.judgement;
        let day = row.created_at_ms.div_euclid(DAY_MS);
        let fits = filter.model_id.as_ref().is_none_or(|m| said.model_id.as_ref() == Some(m))
            && filter.user_id.as_ref().is_none_or(|u| row.user_id.as_ref() == Some(u))
            && filter.transformation_type.as_ref().is_none_or(|t| said.transformation_type == *t)
            && filter.from_day.is_none_or(|d| day >= d)
            && filter.to_day.is_none_or(|d| day <= d);
        if fits {
            let cell = found.entry(key(row)).or_default();
            cell.0 += 1;
            if let Some(rating) = said.rating {
                cell.1[usize::from(u8::from(rating)) - 1] += 1;
            }
            cell.2 += said.duration_ms.unwrap_or(0);
        }
    }
    found.into_iter().map(|(key, (num, ratings, ms))| (key, num, ratings, ms)).collect()
}

fn shown(groups: &[Group]) -> Vec<(String, i64, [i64; 5], i64)> {
    let mut keyed = std::collections::BTreeMap::<String, Counts>::new();
    for group in groups {
        keyed.entry(group.key.clone()).or_default().add(&group.counts);
    }
    keyed.into_iter().filter(|(_, c)| c.num > 0).map(|(k, c)| (k, c.num, c.ratings, c.duration.1)).collect()
}

#[tokio::test]
async fn sums_are_what_a_count_over_the_rows_says() {
    let fixture = Fixture::filled().await;
    let mut tx = fixture.begin().await;
    for n in 1..=3 {
        users::insert(&mut tx, &user(n, Role::Reviewer)).await.unwrap();
    }
    let mut rows = rows();
    let mut sums = Sums::default();
    for row in &rows {
        feedback_rows::insert(&mut tx, row, &mut sums).await.unwrap();
    }
    sums.write(&mut tx).await.unwrap();
    for row in rows.iter_mut().step_by(7) {
        *row = feedback_rows::withdraw(&mut tx, &row.id, 5, "slip").await.unwrap();
        // Once more changes nothing.
        assert_eq!(feedback_rows::withdraw(&mut tx, &row.id, 6, "again").await.unwrap(), *row);
    }
    let model = Some(ModelId::from_uuid(uuid(1)));
    let reviewer = Some(UserId::from_uuid(uuid(2)));
    let filters = [
        SumsFilter::default(),
        SumsFilter { model_id: model.clone(), ..SumsFilter::default() },
        SumsFilter { user_id: reviewer.clone(), ..SumsFilter::default() },
        SumsFilter { transformation_type: Some("polite".into()), from_day: Some(20), ..SumsFilter::default() },
        SumsFilter {
            model_id: model,
            user_id: reviewer.clone(),
            from_day: Some(1),
            to_day: Some(120),
            transformation_type: None,
        },
        SumsFilter { user_id: reviewer, transformation_type: Some("short".into()), ..SumsFilter::default() },
    ];
    for filter in &filters {
        let of_model = |row: &Feedback| row.judgement.model_id.as_ref().map_or(String::new(), ToString::to_string);
        for step in [Step::Day, Step::Week, Step::Span] {
            let by_model = groups(&mut tx, filter, By::ModelAnd(step)).await.unwrap();
            assert_eq!(shown(&by_model), recount(&rows, filter, of_model), "{filter:?}");
            let stepped = |group: &&Group| group.counts.num > 0;
            let of_step = |row: &Feedback| format!("{} {}", of_model(row), step.of_day(row.created_at_ms / DAY_MS));
            let mut found: Vec<_> =
                by_model.iter().filter(stepped).map(|g| (format!("{} {}", g.key, g.step), g.counts.num)).collect();
            found.sort();
            let expected: Vec<_> =
                recount(&rows, filter, of_step).into_iter().map(|(key, num, ..)| (key, num)).collect();
            assert_eq!(found, expected, "{filter:?} {step:?}");
        }
        let by_kind = groups(&mut tx, filter, By::TransformationType).await.unwrap();
        assert_eq!(shown(&by_kind), recount(&rows, filter, |row| row.judgement.transformation_type.clone()));
        let by_reviewer = groups(&mut tx, filter, By::Reviewer).await.unwrap();
        let of_user = |row: &Feedback| row.user_id.as_ref().map_or(String::new(), ToString::to_string);
        assert_eq!(shown(&by_reviewer), recount(&rows, filter, of_user));
        // A choice counts once in every group but that of models, where it is news of both.
        let choices: i64 = by_kind.iter().flat_map(|g| g.counts.choices).sum();
        assert_eq!(choices, by_reviewer.iter().flat_map(|g| g.counts.choices).sum::<i64>());
    }
    let all = groups(&mut tx, &SumsFilter::default(), By::ModelAnd(Step::Day)).await.unwrap();
    let of_two: Vec<_> = all.iter().filter(|g| g.key == model_key(2)).collect();
    let lost: i64 = of_two.iter().map(|g| g.counts.choices[1]).sum();
    let by_hand = rows.iter().filter(|r| r.withdrawn_at_ms.is_none()).filter_map(|r| {
        let choice = r.judgement.choice.as_ref()?;
        let two = Some(ModelId::from_uuid(uuid(2)));
        let as_first = r.judgement.model_id == two && choice.preferred == Preferred::B;
        let as_second = choice.other_model_id == two && choice.preferred == Preferred::A;
        Some(i64::from(as_first) + i64::from(as_second))
    });
    assert_eq!(lost, by_hand.sum::<i64>());

    // Counted anew from the rows, they are the same.
    let kept = dump(&mut tx).await;
    tx.run(crate::statement::Statement::new("feedback_sums", "DELETE FROM feedback_sums")).await.unwrap();
    assert!(are_missing(&mut tx).await.unwrap());
    make(&mut tx).await.unwrap();
    assert!(!are_missing(&mut tx).await.unwrap());
    let anew = dump(&mut tx).await;
    assert!(kept.len() > 1000, "{}", kept.len());
    for (kept, anew) in kept.iter().zip(&anew) {
        assert_eq!(kept, anew);
    }
    assert_eq!(kept.len(), anew.len());
}

/// Every count that is not of nothing, under its key.
async fn dump(tx: &mut Tx) -> Vec<String> {
    let columns = "num, rating_1, rating_2, rating_3, rating_4, rating_5, thumbs_up, thumbs_down, wins, losses, ties, both_bad, \
        corrections, distance_num, flagged, duration_num, duration_ms";
    let Tx::Sqlite(connection) = tx;
    let sql = format!(
        "SELECT grain || ' ' || step || ' ' || user_id || ' ' || model_id || ' ' || transformation_type || ': ' || concat_ws(' ', {columns}) \
         FROM feedback_sums WHERE num + wins + losses + ties + both_bad > 0 ORDER BY grain, step, user_id, model_id, transformation_type"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut **connection).await.unwrap()
}

fn model_key(n: u128) -> String {
    ModelId::from_uuid(uuid(n)).to_string()
}
