"""People first (design section 7): what a branch's commits record, what people took back, set by hand or asked for."""
