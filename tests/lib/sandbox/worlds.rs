//! Actions that nobody entered by hand, and sandboxes put away.

use std::time::Duration;

use mde_cancel::model::RowContext;
use mde_cancel::quota::{Window, Windows};
use mde_cancel::sandbox::{Faults, Generator, Sandbox, SandboxSettings};

use super::{cancel, get, id, quiet};

#[tokio::test]
async fn a_made_up_world_is_the_same_whether_it_was_seeded_or_first_seen_in_a_call() {
    let generator = Generator::believable(7);
    let (settings, _) = quiet();
    let lazy = Sandbox::new(SandboxSettings {
        unknown_ids: Some(generator.clone()),
        ..settings.clone()
    });
    let seeded = Sandbox::new(settings);
    let ids = seeded.generate(400, &generator);
    for id in ids.iter().rev() {
        let path = format!("/api/machineactions/{id}");
        let (one, other) = (get(&lazy, &path).await, get(&seeded, &path).await);
        assert_eq!(one.status, other.status);
        if one.status == 200 {
            assert_eq!(one.body, other.body);
        }
    }
    let row = RowContext {
        computer_dns_name: Some("srv-1".to_owned()),
        ..RowContext::default()
    };
    seeded.seed_from([(id(9), row)], &Generator::all_pending(1));
    assert_eq!(
        seeded.action(id(9)).unwrap().computer_dns_name.as_deref(),
        Some("srv-1")
    );
}

#[tokio::test]
async fn a_sandbox_that_was_put_away_goes_on_where_it_stopped() {
    let (settings, clock) = quiet();
    let settings = SandboxSettings {
        quota: Windows::new(vec![Window::parse("3/1m").unwrap()]),
        faults: Faults::parse("503@nth=3").unwrap(),
        unknown_ids: Some(Generator::all_pending(1)),
        ..settings
    };
    let first = Sandbox::new(settings.clone());
    let nothing = Generator {
        statuses: Vec::new(),
        missing: 1,
        ..Generator::all_pending(1)
    };
    first.seed_from([(id(2), RowContext::default())], &nothing);
    assert_eq!(cancel(&first, 1).await.status, 200);
    assert_eq!(cancel(&first, 2).await.status, 404);
    let stored = serde_json::to_string(&first.save()).unwrap();
    clock.advance(Duration::from_secs(1));
    let second = Sandbox::restore(settings, serde_json::from_str(&stored).unwrap());
    assert_eq!(second.action(id(1)), first.action(id(1)));
    assert_eq!(second.action(id(3)), first.action(id(3)));
    assert_eq!(second.action(id(2)), None);
    assert_eq!(cancel(&second, 1).await.status, 503);
    assert_eq!(cancel(&second, 1).await.header("retry-after"), Some("59"));
}

#[tokio::test]
async fn records_have_the_odd_fields_that_the_service_writes() {
    let (settings, _) = quiet();
    let sandbox = Sandbox::new(settings);
    let ids = sandbox.generate(400, &Generator::believable(7));
    let mut odd = 0;
    for id in ids {
        let answer = get(&sandbox, &format!("/api/machineactions/{id}")).await;
        if answer.status != 200 {
            continue;
        }
        let record = answer.json();
        if record["cancellationDateTimeUtc"] == "" {
            assert_eq!(record["DecidedBy"], record["requestor"]);
            odd += 1;
        }
    }
    assert!(odd > 50, "{odd}");
}
