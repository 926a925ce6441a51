"""Stream shells, one folder per job. Only the Faust jobs know Faust; the others run on ``stream_jobs.engine``."""
