"""Whether an installation is as it must be: a finding for each question, with what to do. Changes nothing."""
