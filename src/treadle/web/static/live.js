// What changed elsewhere arrives as the event `treadle:changed` on the body.
