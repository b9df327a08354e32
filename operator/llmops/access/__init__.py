"""GatewayKey and Provider: who may come through the door, and what of their budget is left.

The gateways decide by the objects themselves, whether the operator is there or not; here it is only said what follows
from them: a key that is disabled or has expired, a budget that is spent. What each gateway counted comes by its report
(control/reports.py) as sums since that gateway began. A key's status keeps which sums it has already counted, so that
neither a new leader nor a restarted gateway counts anything twice. No Secret and no key is ever read.
"""
