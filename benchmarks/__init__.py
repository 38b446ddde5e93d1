"""What Treadle costs, measured beside the least that any engine could cost."""
