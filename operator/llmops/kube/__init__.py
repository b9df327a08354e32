"""kube: the only code that talks to the API server.

Read in this order: resources.py (what there is), client.py (one call each), config.py (to whom it speaks, and as whom:
connection.py, made by kubeconfig.py, plugin.py and trust.py), cache.py (what we follow, kept in memory), store.py (how
it is found there), cluster.py (what a reconcile sees: reads from the cache, writes that skip what is already so, by
compare.py), lease.py (who leads).
The gateway uses client and cache too, so nothing here knows about reconciling.

Errors (errors.py):
    ApiError ─┬─ NotFound      404: the object, or its kind, is not there
              ├─ Conflict      409: somebody else wrote meanwhile
              ├─ Expired       410: a watch's place in history is gone; list again
              ├─ Invalid       400, 422: the server's own sentence says what to mend
              ├─ Forbidden     401, 403: a right is missing
              └─ Unreachable   no answer in time, 429, 5xx, no credentials from a program: worth another try
    NoCluster         neither in a pod nor with a usable kubeconfig (connection.py)
    NotOurs           a child's name is taken by an object of somebody else's
"""
