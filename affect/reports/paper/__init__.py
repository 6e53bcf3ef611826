"""The pack for a paper: tables, figures, methods, ledger, and a script that reproduces its numbers."""
