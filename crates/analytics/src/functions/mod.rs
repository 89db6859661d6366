//! Scalar functions and conversions.
