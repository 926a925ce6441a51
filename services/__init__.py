"""Everything that meets the outside, Faust aside."""
