//! A new user's first hour in the real window: the sample with one click, a crash on the way, the model, its answers.

use std::time::Duration;

use fantoccini::Locator;
use serde_json::json;
use tokio::time::sleep;

use crate::desktop::{Desktop, LIMIT, Window};

/// The whole fine-tuning of the sample on two busy cores, or a part of it.
const FINE_TUNING: Duration = Duration::from_mins(15);

impl Window {
    /// Presses the button or link that begins with these words (keys may follow), or the choice of that title.
    async fn press(&self, words: &str) {
        let path = format!(
            "//*[self::button or self::a][starts-with(normalize-space(), '{words}')][not(ancestor::nav) and not(@aria-disabled)] | //label[@title='{words}']"
        );
        let found = self.client().wait().for_element(Locator::XPath(&path)).await;
        found.unwrap_or_else(|e| panic!("no button {words}: {e}")).click().await.unwrap();
    }

    /// Shows the large chart as a table. A page that still grows can move its buttons away from under the pointer.
    async fn show_table(&self) {
        self.wait(LIMIT, "the chart as a table", async || {
            self.press("Table").await;
            sleep(Duration::from_millis(300)).await;
            (self.run("return document.querySelector('main table[aria-rowcount]') !== null", &[]).await == true)
                .then_some(())
        })
        .await;
    }

    /// The path of the page.
    async fn path(&self) -> String {
        self.client().current_url().await.unwrap().path().to_owned()
    }

    /// Steps whose training loss is stored.
    async fn steps(&self, id: &str) -> Vec<u64> {
        let curves = self.rpc("job_metrics", json!({ "id": id })).await;
        curves["steps"].as_array().unwrap().iter().map(|point| point["step"].as_u64().unwrap()).collect()
    }

    /// The pixels of the large chart, to see whether it moves.
    async fn chart(&self) -> Option<String> {
        let drawn = self.run("return document.querySelector('main canvas')?.toDataURL() ?? null", &[]).await;
        drawn.as_str().map(str::to_owned)
    }

    /// What the run's chart itself holds, read from its table: the first place of the x axis, the last one, and how many.
    async fn plotted(&self) -> Option<(u64, u64, u64)> {
        const SCRIPT: &str = "const [done] = arguments;
            const table = document.querySelector('main table[aria-rowcount]');
            const scroller = table?.parentElement;
            if (!scroller) { done(null); return; }
            const place = (row) => Number(row.firstElementChild.textContent.replaceAll(/[^0-9]/g, ''));
            const row = (index) => table.querySelector(`tr[aria-rowindex='${index}']`);
            const until = (found, then, tries = 100) => {
                const what = found();
                if (what) then(what);
                else if (tries > 0) setTimeout(() => until(found, then, tries - 1), 50);
                else done(null);
            };
            const bottom = () => {
                scroller.scrollTop = scroller.scrollHeight;
                const rows = Number(table.getAttribute('aria-rowcount'));
                const last = row(rows);
                return last && [place(last), rows - 1];
            };
            scroller.scrollTop = 0;
            until(() => row(2) && [place(row(2))], ([first]) => until(bottom, (end) => done([first, ...end])));";
        let found = self.client().execute_async(SCRIPT, vec![]).await.unwrap();
        let numbers: Vec<u64> = found.as_array()?.iter().filter_map(serde_json::Value::as_u64).collect();
        <[u64; 3]>::try_from(numbers).ok().map(|[first, last, count]| (first, last, count))
    }
}

#[tokio::test]
async fn a_new_user_gets_from_the_sample_to_answers_through_a_crash() {
    let desktop = Desktop::start().await;
    let window = desktop.open().await;

    window.press("Try the sample").await;
    let page = window
        .wait(LIMIT, "the page of the run", async || Some(window.path().await).filter(|p| p.starts_with("/runs/job_")))
        .await;
    let id = page.rsplit('/').next().unwrap().to_owned();
    window.wait(FINE_TUNING, "the first points", async || (window.steps(&id).await.len() > 5).then_some(())).await;
    let before = window.wait(LIMIT, "a chart", async || window.chart().await).await;
    window.wait(LIMIT, "a chart that moves", async || window.chart().await.filter(|now| *now != before)).await;

    // The program dies as in a crash; the run goes on, and the next window shows every step of it.
    drop(window);
    let window = desktop.open().await;
    let path = format!("a[href='/runs/{id}']");
    window.client().wait().for_element(Locator::Css(&path)).await.unwrap().click().await.unwrap();
    window.wait(LIMIT, "the page of the run", async || (window.path().await == page).then_some(())).await;
    window.show_table().await;
    let (first, last, count) = window
        .wait(FINE_TUNING, "further steps in the chart", async || {
            window.plotted().await.filter(|(_, last, _)| *last > 30)
        })
        .await;
    assert_eq!((first, last), (1, count), "every step once");

    window
        .wait(FINE_TUNING, "the end of the run", async || {
            sleep(Duration::from_secs(1)).await;
            (window.rpc("job_get", json!({ "id": id })).await["status"] == "completed").then_some(())
        })
        .await;
    let steps = window.steps(&id).await;
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>(), "every step once");

    let model = window.client().wait().for_element(Locator::Css("a[href^='/models/mdl_']")).await.unwrap();
    model.click().await.unwrap();
    window
        .wait(LIMIT, "the page of the model", async || window.path().await.starts_with("/models/mdl_").then_some(()))
        .await;
    window.press("Try it").await;
    window.wait(LIMIT, "the playground", async || (window.path().await == "/playground").then_some(())).await;
    window.press("Run").await;
    window
        .wait(LIMIT, "two answers", async || {
            let text = window.run("return document.querySelector('main').innerText", &[]).await;
            (text.as_str().unwrap_or_default().matches("tokens/s").count() >= 2).then_some(())
        })
        .await;
}
