"""The control side on real Consul: how soon a change is routed on, and what knowing a large mesh costs."""
