"""desk: what a person does at a prompt. Each command is one function that prints for people and returns an exit code.

validate.py needs no cluster; look.py (status, wait, explain) only reads; change.py (diff, approve, retry, abort)
writes annotations that name exactly what they speak of, never a spec; search.py asks an index, through the API
server's proxy (reach.py), and prints lines that fit the terminal (lines.py); keys.py makes a key that is shown once
and stored nowhere; questions.py drafts an index's labelled questions with a model (draft.py, model.py); generate.py
is `make generate`: crds/ and docs/reference/ from the models and tables. Errors are sentences on stderr. Nothing here
is imported by any process of the product.
"""
