"""LLMService: a model, behind the door, as pods that nobody has to think about.

observe.py reads the service, its Revision and what its children say; plan.py turns that into the children that should
be. children.py builds them, fetcher.py those that bring weights, both from podspec.py; keda.py tells KEDA what to do;
engines/ knows each engine's command line, probes and way to stop; sources.py where weights come from; sizing.py how
many accelerators they need; merge.py what spec.podTemplate may change. status.py says how it stands, pods.py what the
pods say of themselves. The Revision freezes what decides the answer (model, engine, the image resolved once), so an
upgrade of this operator rolls no pod. teach.py loads adapters into pods that run. A change of it may go by steps:
canary.py decides what pods there are of which revision, roll.py is that turn. What runs inside a download Job is
fetch.py, with hub.py for hf://, bucket.py for s3:// and gs://, registry.py for oci://, transfer.py for each file,
room.py to make room, progress.py to tell how far it is.
"""
