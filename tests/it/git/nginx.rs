//! nginx, fcgiwrap and `git http-backend`, which trust a header.

use crate::git::{Host, Way, cases, credentials, cut, large, on, on_each_way, refusals};

const HOST: Host = Host::Nginx;

#[test]
fn clones_in_each_protocol() {
    on_each_way(HOST, cases::clones_in_each_protocol);
}

#[test]
fn clones_in_part() {
    on_each_way(HOST, cases::clones_in_part);
}

#[test]
fn fetches_what_is_new() {
    on_each_way(HOST, cases::fetches_what_is_new);
}

#[test]
fn pushes() {
    on_each_way(HOST, cases::pushes);
}

#[test]
fn clones_over_the_dumb_protocol() {
    on_each_way(HOST, cases::clones_over_the_dumb_protocol);
}

#[test]
fn negotiates_about_many_refs() {
    on_each_way(HOST, cases::negotiates_about_many_refs);
}

#[test]
fn one_repository_by_each_name() {
    on_each_way(HOST, cases::one_repository_by_each_name);
}

#[test]
fn asks_the_credential_helper() {
    on_each_way(HOST, credentials::asks_the_helper);
}

#[test]
fn takes_the_token_in_each_place() {
    on_each_way(HOST, credentials::takes_the_token_in_each_place);
}

#[test]
fn refuses_clones() {
    on_each_way(HOST, refusals::clones);
}

#[test]
fn refuses_pushes() {
    on_each_way(HOST, refusals::pushes);
}

#[test]
fn refuses_what_has_no_route() {
    on(HOST, Way::Plain, refusals::what_has_no_route);
}

#[test]
fn a_clone_ends_with_its_token() {
    on(HOST, Way::Plain, cut::a_clone_ends_with_its_token);
}

#[test]
fn a_clone_outlives_other_edits() {
    on(HOST, Way::Tls, cut::a_clone_outlives_other_edits);
}

#[test]
fn a_push_ends_with_its_token() {
    on(HOST, Way::Plain, cut::a_push_ends_with_its_token);
}

#[test]
fn a_clone_outlives_the_gateway() {
    on(HOST, Way::Plain, cut::a_clone_outlives_the_gateway);
}

#[test]
fn a_large_push_streams() {
    on(HOST, Way::Plain, large::a_push_streams);
}
