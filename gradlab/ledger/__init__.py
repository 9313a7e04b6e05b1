"""The error ledger: where the error of a policy gradient comes from, term by term."""

from gradlab.ledger.chain import error_ledger
from gradlab.ledger.result import ErrorLedger, Term

__all__ = ["ErrorLedger", "Term", "error_ledger"]
