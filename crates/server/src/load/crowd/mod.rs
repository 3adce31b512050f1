//! Our own generator: crowds of a hundred thousand fans from a small part of a core, and event streams.
//!
//! It is an open model: a fan comes when it is time, whatever the server does. Each fan is a small task that sleeps most of
//! the time. Requests share a bounded number of connections, and an event stream has one of its own. Fans are spread over
//! workers, each a thread that shares nothing with the others while the run goes on.
//!
//! How times are measured: from when a request was sent. If the generator itself was late by more than 2 ms, from when the
//! request was due, so that its own weakness does not hide slow answers; how often that was stands in the notes. Waiting for
//! one of the bounded connections is part of the time, as the server has them all. A fan who would come more than a second
//! late does not come and counts as dropped. What takes 10 s has no answer.

mod answers;
mod ask;
mod events;
mod fan;
mod follow;
mod http;
mod robot;
mod schedule;
mod seats;
mod turn;
mod wire;
mod world;

use std::{io, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::{
    fan::visit,
    world::{Plan, World},
};
use super::{Failure, prepare::Job, recorded::Recorded};
use crate::serve;

/// A fan who would come later than this does not come.
const DROPPED_AFTER: Duration = Duration::from_secs(1);

/// Time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// One worker for so many cores: a worker sends tens of thousands of requests a second, and the rest is for the server.
const CORES_A_WORKER: usize = 4;

/// Most workers.
const WORKERS: usize = 8;

/// Sends the fans of `job` and waits for the last one. A run that is interrupted has what was seen until then, and says so.
pub async fn drive(job: &Job) -> Result<Recorded, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = (cores / CORES_A_WORKER).clamp(1, WORKERS);
    let plan = Arc::new(Plan::of(job, workers).await?);
    let stop = serve::stop_on_signals();
    // Whoever drops this future wants no more fans.
    let _stop_with_us = stop.clone().drop_guard();
    let mut running = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (plan, stop) = (Arc::clone(&plan), stop.clone());
        let (done, end) = oneshot::channel();
        std::thread::Builder::new().name(format!("crowd-{worker}")).spawn(move || {
            // Nobody waits any more when the run was given up.
            drop(done.send(work(plan, worker, &stop)));
        })?;
        running.push(end);
    }
    let mut all = Recorded::default();
    for end in running {
        all.merge(end.await.map_err(|_| "a worker of the crowd ended without a word")??);
    }
    if stop.is_cancelled() {
        all.unfinished = Some("it was interrupted".to_owned());
    }
    Ok(all)
}

/// Sends the fans of one worker.
fn work(plan: Arc<Plan>, worker: usize, stop: &CancellationToken) -> io::Result<Recorded> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let world = Rc::new(World::new(plan));
        world.visits.spawn_local(let_come(Rc::clone(&world), worker));
        world.visits.close();
        tokio::select! {
            () = world.visits.wait() => {}
            () = stop.cancelled() => {}
            () = tell_progress(&world, worker) => {}
        }
        Ok(world.finish(worker))
    })
}

/// Says now and then how far it is.
async fn tell_progress(world: &World, worker: usize) {
    loop {
        sleep(PROGRESS_EVERY).await;
        eprintln!("crowd: worker {worker}: {} fans came, {} are on the way", world.arrived(), world.visits.len());
    }
}

/// Lets the fans of one worker come, each when it is time.
async fn let_come(world: Rc<World>, worker: usize) {
    let plan = &world.plan;
    for index in (0..plan.access.len()).filter(|index| plan.worker_of(*index) == worker) {
        let due = plan.due(index);
        // Fans of the same moment come together.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        if due.elapsed() > DROPPED_AFTER {
            world.drop_arrival(due);
        } else {
            world.arrive(due);
            world.visits.spawn_local(visit(Rc::clone(&world), index, due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{world::tests::plan, *};

    /// Nobody listens there.
    const NOWHERE: &str = "http://127.0.0.1:1";

    fn worked(plan: impl Future<Output = Plan>, stop: &CancellationToken) -> Recorded {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let plan = runtime.block_on(plan);
        drop(runtime);
        work(Arc::new(plan), 0, stop).expect("a worker")
    }

    #[test]
    fn every_fan_comes_once_also_when_there_is_no_server() {
        let recorded = worked(plan(200, &[NOWHERE], 1), &CancellationToken::new());
        assert_eq!((recorded.arrived, recorded.dropped), (200, 0));
        // Robots ask three times before they join.
        let by_step: Vec<_> =
            recorded.steps().into_iter().map(|step| (step.step, step.count, step.counts.unanswered)).collect();
        assert_eq!(by_step, [("join".to_owned(), 200, 200), ("gate".to_owned(), 60, 60)]);
        assert!(recorded.wrongs.is_empty() && recorded.successes.is_empty());
        assert!(recorded.notes.iter().any(|note| note.contains("join without an answer: no connection")));
    }

    #[test]
    fn who_would_come_much_too_late_does_not_come() {
        let late = async { plan(200, &[NOWHERE], 1).await.begun(Duration::from_secs(30)) };
        let recorded = worked(late, &CancellationToken::new());
        assert_eq!((recorded.arrived, recorded.dropped, recorded.steps().len()), (0, 200, 0));
    }

    #[test]
    fn an_interrupted_worker_has_what_was_seen_until_then() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(worked(plan(200, &[NOWHERE], 1), &stop).arrived <= 200);
    }
}
