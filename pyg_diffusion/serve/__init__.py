"""Conformers over HTTP: `pyg-diffusion serve`. `app.make_app` is the application, `desk.Desk` batches requests."""
