//! What other origins may do.

use super::*;

#[test]
fn a_preflight_route_has_a_policy_and_leads_nowhere() {
    let cors = || Some(proto::Cors { allow_origins: vec!["*".into()], ..Default::default() });
    for (policy, leads) in [(None, 0), (cors(), 1)] {
        let refused = refusal(|message| {
            let route = &mut message.route_tables[0].routes[0];
            (route.preflight, route.cors) = (true, policy);
            route.destinations.truncate(leads);
        });
        assert!(refused.contains("a preflight route has"), "{refused}");
    }
}
