"""Generated from protos/shop/v1; never edited."""
