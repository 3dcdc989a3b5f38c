/* Filters: whether a packet that nobody has asked for yet is asked for now. */

#ifdef PACKET_FILTER
static bool view_matches(struct retis_context *c, struct packet_view *view)
{
	if (c->packet_is_l3) {
#ifdef PACKET_FILTER_L3
		return packet_filter_l3(view);
#endif
	} else {
#ifdef PACKET_FILTER_L2
		return packet_filter_l2(view);
#endif
	}
	return false;
}

static bool packet_matches(struct retis_context *c)
{
	struct packet_view view = {
		.start = c->packet,
		.linear = c->packet_linear,
		.len = c->packet_len,
	};
	bool matches;

	if (!c->packet)
		return false;
#ifdef DIRECT_MAP
	struct gathered *gathered = gather(&view, c->skb, PACKET_FILTER_REACH);

	matches = view_matches(c, &view);
	release_gathered(gathered);
#else
	matches = view_matches(c, &view);
#endif
	return matches;
}
#endif

static bool matches_filters(struct retis_context *c)
{
#ifdef PACKET_FILTER
	if (!packet_matches(c))
		return false;
#endif
#ifdef META_FILTER
	if (!meta_filter(c->skb))
		return false;
#endif
	return true;
}
