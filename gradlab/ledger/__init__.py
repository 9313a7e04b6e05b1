"""The error ledger: where the error of a policy gradient comes from, term by term."""

from gradlab.ledger.chain import error_ledger
from gradlab.ledger.result import ErrorLedger, Term
from gradlab.ledger.rollout import RolloutLedger, rollout_ledger

__all__ = ["ErrorLedger", "RolloutLedger", "Term", "error_ledger", "rollout_ledger"]
