//! What the operator asks of the log's checkpoints: one now, the key, and the proof that a record is in one.

use super::super::checkpoints::{self, CheckpointError};
use super::{AuditLog, each};
use crate::audit::Verifier;
use crate::audit::checkpoint::{Checkpoint, Proof};
use crate::audit::note::VerifierKey;
use crate::audit::tree::Prover;

impl AuditLog {
    /// The newest checkpoint; it is made, if there are records that no other speaks of.
    ///
    /// # Errors
    /// When there are no records, the key cannot be had, or the log does not hold.
    pub async fn checkpoint(&self) -> Result<Checkpoint, CheckpointError> {
        let Some(checkpoints) = self.checkpoints.clone() else { return Err(CheckpointError::Damaged) };
        loop {
            let checkpoints = checkpoints.clone();
            let (made, is_whole) = self.database.write(move |rows| checkpoints.make_of_what_is_there(rows)).await?;
            if is_whole {
                return Ok(made);
            }
        }
    }

    /// The key that checkpoints are verified with; it is made, if there is none.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub async fn key(&self) -> Result<VerifierKey, CheckpointError> {
        let Some(checkpoints) = self.checkpoints.clone() else { return Err(CheckpointError::Damaged) };
        if let Some(key) = checkpoints::public(&self.database.read(), checkpoints.origin())? {
            return Ok(key);
        }
        self.database.write(move |rows| checkpoints.key(rows).map(|key| key.verifier().clone())).await
    }

    /// The public half of the key, if there is one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn public(&self) -> Result<Option<VerifierKey>, CheckpointError> {
        let origin = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.origin());
        checkpoints::public(&self.database.read(), origin)
    }

    /// The proof that a record is in the newest checkpoint that speaks of it; one is made, if none does.
    ///
    /// # Errors
    /// When there is no such record, no checkpoint can be made, or the log does not hold.
    pub async fn prove(&self, seq: u64) -> Result<Proof, CheckpointError> {
        let newest = checkpoints::stored(&self.database.read(), None)?.filter(|newest| newest.size >= seq);
        let checkpoint = match newest {
            Some(newest) => {
                let signer = checkpoints::public(&self.database.read(), newest.origin().as_ref())?;
                newest.open(&signer.ok_or(CheckpointError::Damaged)?)?.0
            }
            None => self.checkpoint().await?,
        };
        let records = checkpoint.size;
        let index = seq.checked_sub(1).ok_or(CheckpointError::Short { records })?;
        let mut prover = Prover::of(index, records).ok_or(CheckpointError::Short { records })?;
        let mut verifier = Verifier::against(vec![checkpoint.clone()]);
        let mut record = Vec::new();
        let mut after = 0;
        while after < records {
            // The connection is given back between pages.
            let last = records.min(after + super::PAGE);
            each(&self.database.read(), after, last, |next| {
                let previous = verifier.head().hash;
                prover.push(verifier.check(&next)?);
                if next.seq == seq {
                    record = next.entry.canonical(seq, previous);
                }
                Ok(())
            })??;
            if verifier.head().seq == after {
                break;
            }
            after = verifier.head().seq;
        }
        verifier.end()?;
        Ok(Proof { record, index, hashes: prover.proof(), checkpoint })
    }
}
