load helpers
load crash

setup() { start_on consul; }
teardown() { stop_all; }

each_test consul
