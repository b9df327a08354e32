"""How a change reaches users: pure. The same spec, status, evidence and time always give the same next status.

    split.py     which users meet the candidate: a hash, nothing stored
    ledger.py    what gateways counted, as a set of units; any number of reports, in any order, give the same set
    evidence.py  e-values: the strength of evidence, valid at every look (docs/evidence.md)
    state.py     where a rollout stands; read from the status and written to it
    world.py     what else is so: the evaluations' verdict, the gateways, the annotations, the time
    counters.py  what Prometheus counted, beside the units
    case.py      one look at a candidate that answers, and what may be said of it
    hand.py      a rollback by a person's hand: whether the annotation counts, and why not
    judge.py     the questions asked while users meet the candidate, in their order
    offline.py   the evaluations of a candidate: EvalJobs made from templates, and their verdict
    tell.py      how it stands, in the fields of a status
    machine.py   look(state, wanted, world) -> the next state, what happened, and when to look again

Nothing here reads a clock or the cluster. The caller writes the returned state into the status; the gateways read the
split from there. So a killed operator resumes where the status says, and nobody meets more of a candidate than it says.
"""
