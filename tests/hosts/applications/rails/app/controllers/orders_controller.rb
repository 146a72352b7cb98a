class OrdersController < ApplicationController
  PAGE = File.read(Rails.root.join("order.html"))

  def sign_in
    session[:user] = [Integer(params[:id]), params[:name]]
    redirect_to "/orders/1"
  end

  def sign_out
    reset_session
    render plain: "Signed out."
  end

  def edit
    render html: PAGE.sub('id="7"', %(id="#{Integer(params[:id])}")).html_safe
  end
end
