//! Jobs: run once, whoever is killed meanwhile, and their end is told.

use super::super::*;
use super::stage::*;

fn job(id: &str, script: &str) -> Job {
    let mut what = worker("");
    what.command = Some(["sh", "-c", script].map(str::to_owned).to_vec());
    Job { id: id.to_owned(), what }
}

/// Asks until the job has ended.
async fn end_of(embedded: &Embedded, id: &str) -> (Option<i32>, bool, Vec<String>) {
    for _ in 0..2000 {
        match embedded.job(id).await.unwrap() {
            JobState::Ended { code, worked, log } => {
                return (code, worked, log.into_iter().map(|line| line.text).collect());
            }
            JobState::Absent | JobState::Under { .. } => sleep(Duration::from_millis(5)).await,
        }
    }
    panic!("the job never ended");
}

#[tokio::test]
async fn a_job_runs_once_however_often_it_is_asked_for_and_by_whom() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    assert_eq!(embedded.job("migrate-api-r1").await.unwrap(), JobState::Absent);
    let job = job("migrate-api-r1", "echo run >> ran; echo out; echo err >&2; sleep 0.1");
    let other = provider(stage.folder.path(), stage.clock.clone());
    let both = tokio::join!(embedded.run_once(&job), other.run_once(&job));
    assert_eq!(both, (Ok(()), Ok(())));
    embedded.run_once(&job).await.unwrap();
    let expected = (Some(0), true, vec!["out".to_owned(), "err".to_owned()]);
    assert_eq!(end_of(&other, &job.id).await, expected);
    embedded.run_once(&job).await.unwrap();
    assert_eq!(end_of(&embedded, &job.id).await, expected);
    assert_eq!(std::fs::read_to_string(stage.folder.path().join("ran")).unwrap(), "run\n");
    embedded.forget_job(&job.id).await.unwrap();
    embedded.forget_job(&job.id).await.unwrap();
    assert_eq!(embedded.job(&job.id).await.unwrap(), JobState::Absent);
    assert!(embedded.look().await.unwrap().is_empty(), "a job is no service");
}

#[tokio::test]
async fn the_exit_code_of_a_job_that_failed_is_told() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    embedded.run_once(&job("a", "echo no; exit 3")).await.unwrap();
    assert_eq!(end_of(&embedded, "a").await, (Some(3), false, vec!["no".to_owned()]));
    let mut missing = job("b", "");
    missing.what.command = Some(vec!["/no/such/program".to_owned()]);
    embedded.run_once(&missing).await.unwrap();
    let (code, worked, log) = end_of(&embedded, "b").await;
    assert_eq!((code, worked), (Some(127), false));
    assert!(log.concat().contains("/no/such/program"), "{log:?}");
}

#[tokio::test]
async fn a_job_that_was_killed_has_ended_and_is_not_started_again() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let job = job("a", "echo run >> ran; sleep 60");
    embedded.run_once(&job).await.unwrap();
    let ran = stage.folder.path().join("ran");
    while !ran.exists() {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(embedded.job("a").await.unwrap(), JobState::Under { .. }));
    assert_eq!(embedded.forget_job("a").await.unwrap_err().kind, FaultKind::Conflict);
    let launch = std::fs::read(stage.folder.path().join("shop/here/jobs/a.job")).unwrap();
    let launch: serde_json::Value = serde_json::from_slice(&launch).unwrap();
    process::kill_left_behind(launch["token"].as_str().unwrap());
    let (code, worked, _) = end_of(&embedded, "a").await;
    assert_eq!((code, worked), (None, false));
    embedded.run_once(&job).await.unwrap();
    assert_eq!(end_of(&embedded, "a").await.0, None);
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "run\n");
}

#[tokio::test]
async fn a_job_that_was_written_down_and_never_started_is_started() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let jobs = stage.folder.path().join("shop/here/jobs");
    std::fs::create_dir_all(&jobs).unwrap();
    // As LinkFlow leaves it that is killed right before it starts the process.
    std::fs::write(jobs.join("a.job"), r#"{"token":"nobody-carries-this-one"}"#).unwrap();
    assert_eq!(embedded.job("a").await.unwrap(), JobState::Absent);
    embedded.run_once(&job("a", "exit 0")).await.unwrap();
    assert_eq!(end_of(&embedded, "a").await.0, Some(0));
}

#[tokio::test]
async fn a_job_of_an_image_that_no_program_stands_for_is_refused() {
    let stage = stage();
    let embedded = provider(stage.folder.path(), stage.clock.clone());
    let mut unknown = job("a", "exit 0");
    unknown.what.image = image("example.com/unknown");
    assert_eq!(embedded.run_once(&unknown).await.unwrap_err().kind, FaultKind::Invalid);
    let outside = job("../a", "exit 0");
    assert_eq!(embedded.run_once(&outside).await.unwrap_err().kind, FaultKind::Invalid);
}
