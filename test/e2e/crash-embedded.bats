load helpers
load crash

setup() { start_on embedded; }
teardown() { stop_all; }

each_test embedded
