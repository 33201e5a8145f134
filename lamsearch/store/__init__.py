"""The database: studies, slots, fold results, leases and workers in our tables, and Optuna's copy of them.

Promise: a fold fit may be *executed* more than once; it is *observed as completed* exactly once.

    store = Store("lamsearch.db")
    study = store.submit(config, facts)                 # create, resume or grow
    worker_id = store.register(WorkerInfo(host=…, pid=…, device=…))
    match store.claim(study.id, worker_id):             # and store.beat(worker_id) from a thread
        case Claim() as claim: store.record(claim, result)  # or record_and_claim, with the next in one transaction
        case Wait(): ...
        case Done(): store.claim_refit(study.id, worker_id)
    store.mirror(study.id)                              # show it in Optuna
"""

from lamsearch.store.api import Store
from lamsearch.store.rows import Claim, Done, StudyRow, StudyState, Wait, WorkerInfo, WorkerRow

__all__ = ["Claim", "Done", "Store", "StudyRow", "StudyState", "Wait", "WorkerInfo", "WorkerRow"]
