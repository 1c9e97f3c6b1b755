//! Tells a collector what a task did, once that is over and recorded.

use super::Host;
use super::run::Course;
use crate::audit::spans;
use crate::audit::story::Story;

impl Host {
    /// Sends the spans of a task that has ended, if the configuration says where to. What goes wrong with that is the
    /// operator's to know, and changes nothing for the task.
    pub(super) async fn tell(&self, course: &Course) {
        let Some(telemetry) = &self.telemetry else { return };
        let sent = match self.spans(&course.actor.principal.task) {
            Ok(request) => telemetry.send(&request).await,
            Err(why) => Err(why),
        };
        if let Err(why) = sent {
            course.gate.observer.warned(&format!("the task's spans were not sent: {why}"));
        }
    }

    /// What a task did, as its records tell it.
    fn spans(&self, task: &str) -> Result<serde_json::Value, String> {
        let records = self.audit.records(Some(task), 0, u64::from(u32::MAX)).map_err(|error| error.to_string())?;
        let records: Result<Vec<_>, _> = records.into_iter().collect();
        let records = records.map_err(|error| error.to_string())?;
        Ok(spans::request(&Story::of(task, &records)))
    }
}
